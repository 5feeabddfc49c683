#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# beside.sh - the kernel's datapaths on a host with other people's rules and sysctls: who masquerades,
# who puts marks back, who drops, who forwards, who announces routes.
# hooks: nft
# guest: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

sysctl_of() { lab_in node1 sysctl -n "$1"; }

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"

step 'which datapath, and why'
expect 0 apply
expect_text "$ERR" "datapath $HOOK: the config names it"
expect 0 lab_meshlb status
expect_text "$OUT" "^datapath $HOOK: the config names it"
equal 'why, in JSON' "$(lab_meshlb -j status | jq -r .datapath_why)" 'the config names it'
expect 0 lab_meshlb check -f "$CONFIG"
[[ $OUT != *'limits take'* ]] || fail "limits that take nothing: $OUT"
equal 'memory, in JSON' "$(lab_meshlb -j check -f "$CONFIG" | jq .memory)" null
expect_alternation 4 2
expect_alternation 6 2

unmasked() { # the client's address is seen, though others would masquerade
	equal 'the client that nginx sees' "$(seen_client 4)" $CLIENT4
	equal 'the client that nginx sees' "$(seen_client 6)" $CLIENT6
}

if [[ $HOOK == nft ]]; then
	step 'others masquerade what leaves by the interfaces of replicas'
	nft_in 'add table inet theirs; add chain inet theirs out { type nat hook postrouting priority 100; }
		add rule inet theirs out oifname { "r1", "r2" } masquerade'
	lab_in node1 iptables-legacy -t nat -A POSTROUTING -o r1 -j MASQUERADE
	for _ in 1 2; do unmasked; done
	lab_in node1 iptables-legacy -t nat -F POSTROUTING
	nft_in delete table inet theirs

	step 'chains of families ip and ip6 that drop are warned of, too'
	for family in ip ip6; do
		nft_in "add table $family fw; add chain $family fw filter { type filter hook forward priority 0; policy drop; }"
		nft_in "add chain $family fw out { type filter hook output priority 0; policy drop; }" # not our way
	done
	nft_in 'add table bridge fw; add chain bridge fw filter { type filter hook forward priority 0; policy drop; }'
	expect 0 lab_meshlb down
	expect 0 apply
	equal 'warnings' "$(grep -oE 'table "[a-z0-9]+ fw" of nftables: chain "[a-z]+" drops' <<<"$ERR" | tr '\n' ' ')" \
		'table "ip fw" of nftables: chain "filter" drops table "ip6 fw" of nftables: chain "filter" drops '
	for family in ip ip6 bridge; do nft_in delete table $family fw; done

	step "a chain that only bears the name of iptables' own: what it drops is not iptables' to tell"
	expect 0 lab_meshlb down
	nft_in 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority -10; policy drop; }'
	expect 0 apply
	expect_text "$ERR" 'table "ip filter" of nftables: chain "FORWARD" drops'
	expect_text "$ERR" 'warning: iptables-nft-save cannot tell of table filter: .*: what it drops is not known'
	expect 3 verify
	expect_text "$OUT" 'iptables-nft-save cannot tell of table filter: .*: what it drops is not known'
	expect 0 lab_meshlb down
	nft_in delete table ip filter

	step "iptables is found where cron's PATH does not lead"
	# shellcheck disable=SC2317
	cron() { env PATH=/usr/bin:/bin nsenter --net="/run/netns/$LAB-node1" "$MESHLB" --instance "$LAB" "$@"; }
	lab_in node1 iptables-nft -P FORWARD DROP
	expect 0 cron apply -f "$CONFIG"
	expect_alternation 4 2
	expect 0 cron down
	! lab_in node1 iptables-nft-save | grep MESHLB || fail 'it is left'
	lab_in node1 iptables-nft -P FORWARD ACCEPT
	expect 0 apply

	step 'nobody comes in for 127.0.0.1'
	lab_in node2 sysctl -qw net.ipv4.conf.all.route_localnet=1
	lab_in node2 ip route del local 127.0.0.1 dev lo table local
	lab_in node2 ip route del local 127.0.0.0/8 dev lo table local
	lab_in node2 ip route add 127.0.0.0/8 via $VIP4
	# shellcheck disable=SC2016
	seen() { lab_in node1 awk '/^Ip: [0-9]/ { print $4 }' /proc/net/snmp; } # received in all
	served=$(lab_meshlb -j service show vote | jq .counters.connections) before=$(seen)
	! lab_in node2 curl -s -m 1 --interface $CLIENT4 127.0.0.1:8080 || fail 'it was served'
	(($(seen) > before)) || fail 'the lab: nothing came'
	equal 'connections of vote' "$(lab_meshlb -j service show vote | jq .counters.connections)" "$served"
	lab_in node2 ip route del 127.0.0.0/8 via $VIP4

	step 'an error of a router passes to a replica where FORWARD drops'
	held=$(hold_open h 4)
	lab_in node1 iptables-nft -P FORWARD DROP
	expect 0 apply
	equal 'the connection that stood' "$(ask_held h)" "$held"
	replica=r1
	[[ $(lab_id r1) == "$held" ]] || replica=r2
	cport=$(lab_meshlb -j conn ls | jq -r '.connections[] | select(.state == "established").client' | sed 's/.*://')
	# shellcheck disable=SC2016,SC2317
	errors() { lab_in $replica awk '/^Icmp: [0-9]/ { print $5 }' /proc/net/snmp; }
	before=$(errors)
	lab_in node2 "$E2E/forge.py" error $CLIENT4 $VIP4 8080 $CLIENT4 "$cport"
	# shellcheck disable=SC2317
	came() { (($(errors) > before)); }
	lab_until 5 came || fail 'it has not come'
	lab_in node1 iptables-nft -P FORWARD ACCEPT

	step 'rules as Docker has them, of the same port, in each flavour; a reload of others'
	for flavour in iptables-nft iptables-legacy; do
		docker() { # as dockerd writes them, for its own port 8080
			lab_in node1 $flavour-restore --noflush <<-'RULES'
				*nat
				:DOCKER - [0:0]
				:DOCKER-INGRESS - [0:0]
				-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
				-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
				-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
				-A DOCKER-INGRESS -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:8080
				-A DOCKER-INGRESS -j RETURN
				-A POSTROUTING -s 172.18.0.0/16 ! -o docker_gwbridge -j MASQUERADE
				-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE
				COMMIT
				*filter
				:FORWARD DROP [0:0]
				:DOCKER-USER - [0:0]
				:DOCKER-ISOLATION-STAGE-1 - [0:0]
				-A FORWARD -j DOCKER-USER
				-A FORWARD -j DOCKER-ISOLATION-STAGE-1
				-A FORWARD -o docker_gwbridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
				-A DOCKER-ISOLATION-STAGE-1 -j RETURN
				-A DOCKER-USER -j RETURN
				COMMIT
			RULES
		}
		lab_in node1 $flavour -F FORWARD
		docker
		theirs=$(lab_in node1 $flavour-save | grep -v '^#' | grep -v MESHLB | sed 's/ \[.*//')
		expect 3 verify
		expect_text "$OUT" "$flavour: FORWARD does not lead to chain MESHLB-$LAB"
		expect 0 apply
		expect 0 verify
		unmasked
		expect_alternation 4 2
		equal "Docker's rules" "$(lab_in node1 $flavour-save | grep -v '^#' | grep -v MESHLB | sed 's/ \[.*//')" "$theirs"
		for table in nat filter; do # `systemctl restart docker`, after a flush
			lab_in node1 $flavour -t $table -F
			lab_in node1 $flavour -t $table -X
		done
		docker
		expect 3 verify
		expect 0 apply
		unmasked
		lab_in node1 $flavour -P FORWARD ACCEPT
		lab_in node1 $flavour -F FORWARD
		lab_in node1 $flavour -t nat -F
		expect 0 verify
	done

	step 'what iptables refuses, and who may not: named, and nothing is changed'
	mkdir "$LAB_DIR/bin"
	# shellcheck disable=SC2317
	broken() { # COMMAND: of iptables, says no; MESHLB...
		printf '#!/bin/sh\necho no >&2\nexit 1\n' >"$LAB_DIR/bin/$1"
		chmod +x "$LAB_DIR/bin/$1"
		env PATH="$LAB_DIR/bin:$PATH" nsenter --net="/run/netns/$LAB-node1" "$MESHLB" --instance "$LAB" "${@:2}"
	}
	before=$(lab_meshlb export)
	sed 's/scheduler: rr/scheduler: sh/' "$CONFIG" >"$LAB_DIR/other.yaml"
	lab_in node1 iptables-legacy -P FORWARD DROP
	expect 1 broken iptables-legacy-restore apply -f "$LAB_DIR/other.yaml"
	expect_text "$ERR" 'iptables-legacy-restore.* failed: no'
	equal 'what runs' "$(lab_meshlb export)" "$before"
	lab_in node1 iptables-legacy -P FORWARD ACCEPT
	expect 1 lab_meshlb_without -net_admin apply -f "$LAB_DIR/other.yaml"
	expect_text "$ERR" 'Operation not permitted'
	equal 'what runs' "$(lab_meshlb export)" "$before"

	step 'what iptables drops is not known: that is said'
	nft_in flush table ip filter # of what we know
	nft_in add rule ip filter FORWARD ip saddr . ip daddr '{ 203.0.113.1 . 203.0.113.2 }' drop
	if ! grep -q '^:FORWARD' <<<"$(lab_in node1 iptables-nft-save -t filter)"; then
		expect 3 verify
		expect_text "$OUT" 'iptables-nft-save shows no chain FORWARD .*: what it drops is not known'
		expect 0 apply
	fi
	nft_in delete table ip filter
	expect 0 apply
	expect 0 verify
	lab_in node1 iptables-legacy -P FORWARD DROP
	expect 3 broken iptables-legacy-save verify
	expect_text "$OUT" 'iptables-legacy-save.* failed: no: what it drops is not known'
	expect 0 broken iptables-legacy-save apply -f "$CONFIG"
	expect_text "$ERR" 'warning: iptables-legacy-save.* failed: no: what it drops is not known'
	lab_in node1 iptables-legacy -P FORWARD ACCEPT
	exit 0
fi

step "who may not, and a table of somebody else's by our name: named, and nothing is changed"
expect 0 lab_meshlb down
expect 1 lab_meshlb_without -net_admin apply -f "$CONFIG"
expect_text "$ERR" 'Operation not permitted'
nft_in "add table inet meshlb-ipvs_$LAB; add chain inet meshlb-ipvs_$LAB theirs"
expect 1 apply
expect_text "$ERR" "there is a table \"inet meshlb-ipvs_$LAB\" that meshlb has not made"
expect 1 lab_meshlb check -f "$CONFIG"
expect_text "$ERR" "there is a table \"inet meshlb-ipvs_$LAB\" that meshlb has not made"
nft_in list chain inet "meshlb-ipvs_$LAB" theirs >/dev/null || fail 'it is gone'
equal 'virtual services' "$(lab_in node1 ipvsadm -Sn)" ''
nft_in delete table inet "meshlb-ipvs_$LAB"
expect 0 apply

step 'others put back the mark of each connection in mangle, before us and after'
restoring() { # COMMAND
	lab_in node1 iptables-legacy -t mangle "$1" PREROUTING -j CONNMARK --restore-mark
	lab_in node1 ip6tables-legacy -t mangle "$1" PREROUTING -j CONNMARK --restore-mark
}
restoring -A
unmasked
expect 0 lab_meshlb down
expect 0 apply
unmasked
restoring -D
unmasked

step 'a mark of somebody else on what a replica sends by itself stays'
nft_in 'add table inet theirs; add chain inet theirs marks { type filter hook forward priority -150; }
	add chain inet theirs look { type filter hook forward priority 10; }
	add rule inet theirs marks iifname "r1" meta mark set 0x77
	add rule inet theirs look iifname "r1" meta mark and 0xff == 0x77 counter'
lab_in node2 curl -sS -m $MOMENT -o /dev/null "${LAB_V4[0]}"
packets=$(nft_in -j list chain inet theirs look | jq '[.nftables[].rule.expr? // [] | .[].counter.packets? // empty] | add')
((packets > 0)) || fail 'the mark is gone'
nft_in delete table inet theirs

step 'the table of a meshlb before this one, which marked earlier, is made anew'
nft_in "delete chain inet meshlb-ipvs_$LAB prerouting; add chain inet meshlb-ipvs_$LAB prerouting { type filter hook prerouting priority -150; }"
expect 3 verify
expect_text "$OUT" 'chain "prerouting" has another hook, priority or policy'
expect_text "$OUT" 'chain "prerouting": rule "link-local" is missing'
expect 0 apply
expect 0 verify
unmasked

step 'who switches forwarding on meanwhile keeps it; who did not gets back what was'
expect 0 lab_meshlb down
lab_sysctl node1 net.ipv4.ip_forward=0 net.ipv4.conf.r1.forwarding=0
expect 0 apply
equal "r1's forwarding" "$(sysctl_of net.ipv4.conf.r1.forwarding)" 1
expect 0 lab_meshlb down
equal "r1's forwarding" "$(sysctl_of net.ipv4.conf.r1.forwarding)" 0
expect 0 apply
lab_sysctl node1 net.ipv4.ip_forward=1
expect 0 lab_meshlb down
equal "r1's forwarding" "$(sysctl_of net.ipv4.conf.r1.forwarding)" 1
equal forwarding "$(sysctl_of net.ipv4.ip_forward)" 1
lab_sysctl node1 net.ipv4.conf.r1.forwarding=0 # one alone that is off
expect 0 apply
expect 0 lab_meshlb down
equal "r1's forwarding" "$(sysctl_of net.ipv4.conf.r1.forwarding)" 0

step 'a default route that a router has announced stays'
lab_sysctl node1 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.eth0.accept_ra=1
announced() { [[ $(lab_in node1 ip -6 route show default) == *'proto ra'* ]]; }
lab_in node2 "$E2E/forge.py" router eth0
lab_until 5 announced || fail 'the lab: the kernel takes no route of a router'
expect 0 apply
expect_text "$ERR" 'sysctl net/ipv6/conf/eth0/accept_ra: 2, was 1'
announced || fail 'the route is gone'
expect 0 verify
unmasked
expect 0 lab_meshlb down
announced || fail 'the route is gone'
equal accept_ra "$(sysctl_of net.ipv6.conf.eth0.accept_ra)" 1
equal forwarding "$(sysctl_of net.ipv6.conf.all.forwarding)" 0

step 'auto passes over ipvs where a module of a scheduler is missing'
mkdir -p /etc/modprobe.d # the guest's own
echo 'install ip_vs_mh /bin/false' >/etc/modprobe.d/meshlb-test.conf
lab_forward node1
lab_sysctl node1 net.ipv4.conf.r1.forwarding=1
{
	lab_service vote '*:8080' 80
	lab_service flow '*:8084' 80 maglev
} | lab_config | sed 's/^datapath: .*/datapath: auto/' >"$LAB_DIR/auto.yaml"
expect 0 lab_meshlb_without -bpf,-sys_admin apply -f "$LAB_DIR/auto.yaml"
expect_text "$ERR" 'datapath nft: .*scheduler of service: "flow": datapath ipvs has no mh here: module ip_vs_mh'
expect_alternation 4 2
expect 0 lab_meshlb status
expect_text "$OUT" '^datapath auto: nothing speaks against ebpf now'
expect 0 lab_meshlb down
rm /etc/modprobe.d/meshlb-test.conf

step 'who waits for a change of datapath goes where the instance has gone'
sed 's/^datapath: .*/datapath: nft/' "$CONFIG" >"$LAB_DIR/nft.yaml"
apply_waits() { grep -q 'waiting for it' "$LAB_DIR/first"; }
both_wait() { (($(find /proc/[0-9]*/fd -lname "$1" 2>/dev/null | wc -l) >= 3)); }
# While we hold the lock of a datapath an apply waits for it, and then the command. Who comes second
# tries again and again in its first second: mostly the apply is the next.
beside() { # LOCK CONFIG COMMAND...
	local lock first second file=/run/meshlb/$LAB.$1.lock
	exec {lock}<>"$file"
	flock "$lock"
	lab_meshlb apply -f "$2" {lock}>&- >"$LAB_DIR/first" 2>&1 &
	first=$!
	lab_until 30 apply_waits
	lab_meshlb "${@:3}" {lock}>&- >"$LAB_DIR/second" 2>&1 &
	second=$!
	lab_until 30 both_wait "$file"
	exec {lock}>&-
	wait $first || fail "apply: $(<"$LAB_DIR/first")"
	wait $second || fail "${*:3}: $(<"$LAB_DIR/second")"
	cat "$LAB_DIR/first" "$LAB_DIR/second"
}
expect 0 apply
beside ipvs "$LAB_DIR/nft.yaml" backend drain vote 10.0.1.2:80
equal 'the datapath, and weights by hand' "$(lab_meshlb -j status | jq -c '[.datapath, .overrides[].address]')" '["nft","10.0.1.2:80"]'
beside nft "$CONFIG" down
expect_text "$(<"$LAB_DIR/second")" ': removed'
