#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ipvs.sh - what is ipvs's own: schedulers, the sysctls, other people's virtual services, damage,
# removed backends, changes of the datapath, kills at the calls of an apply.
# guest: ipvs
# limit: 600
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TABLE=meshlb-ipvs_$LAB
ipvs_in() { lab_in node1 ipvsadm "$@"; }
sysctl_of() { lab_in node1 sysctl -n "net.ipv4.vs.$1"; }
restored() { # the sysctls that datapath ipvs changes, as they were
	equal 'expire_nodest_conn' "$(sysctl_of expire_nodest_conn)" 0
	equal 'conntrack' "$(sysctl_of conntrack)" 0
	equal "r1's forwarding" "$(lab_in node1 sysctl -n net.ipv4.conf.r1.forwarding)" 0
	equal 'what forwarding alters' "$(lab_in node1 sysctl -n net.ipv4.conf.all.accept_redirects)" 0
	equal "r1's forwarding, IPv6" "$(lab_in node1 sysctl -n net.ipv6.conf.r1.forwarding)" 1
	equal "r2's forwarding, IPv6" "$(lab_in node1 sysctl -n net.ipv6.conf.r2.forwarding)" 0
	equal 'forwarding, IPv6' "$(lab_in node1 sysctl -n net.ipv6.conf.all.forwarding)" 0
	equal 'notes' "$(ls /run/meshlb 2>/dev/null)" ''
}

lab_topology direct 2
lab_nginx r1 r2
declare -A REPLICAS=([$(lab_id r1)]=r1 [$(lab_id r2)]=r2)
write_config() {
	{
		scheduler_services
		lab_service udp '*:5300/udp' 5300
	} | lab_config
}
# Somebody else's: whatever we do, they stay.
modprobe ip_vs
ipvs_in -A -t "$VIP4:9000" -s rr
ipvs_in -a -t "$VIP4:9000" -r 10.0.1.2:80 -m
ipvs_in -A -f 77 -s wrr
theirs=$(ipvs_in -Sn | sort)
theirs_stay() {
	equal "other people's virtual services" "$(ipvs_in -Sn | grep -E -- '-f 77|:9000' | sort)" "$theirs"
}
lab_sysctl node1 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
lab_sysctl node1 net.ipv4.conf.all.accept_redirects=0 net.ipv6.conf.r1.forwarding=1

step 'a config that it cannot serve: refused by name, and nothing is changed'
write_config >"$CONFIG"
sed "s/$VIP4:8081/203.0.113.1:8081/" "$CONFIG" >"$LAB_DIR/far.yaml"
expect 1 lab_meshlb apply -f "$LAB_DIR/far.yaml"
expect_text "$ERR" 'yaml:[0-9]+: listen: "203.0.113.1:8081/tcp": .*ip addr add 203.0.113.1/32 dev lo'
expect 1 lab_meshlb check -f "$LAB_DIR/far.yaml"
expect 3 lab_meshlb apply -f "$LAB_DIR/far.yaml" --best-effort --dry-run
expect_text "$ERR" 'left out: .*yaml:[0-9]+: listen: "203.0.113.1:8081/tcp": '
expect_text "$ERR" 'left out: .*yaml:[0-9]+: service: "turns": it has no listen left'
equal 'services that would be' "$(grep -c '^+ service' <<<"$OUT")" 7
sed "s/$VIP4:8081/$VIP4:9000/" "$CONFIG" >"$LAB_DIR/taken.yaml"
for command in check apply 'apply -n'; do # shellcheck disable=SC2086
	expect 1 lab_meshlb $command -f "$LAB_DIR/taken.yaml"
	expect_text "$ERR" "taken.yaml:[0-9]+: listen: \"$VIP4:9000/tcp\": a virtual service of IPVS that meshlb has not made"
done
expect 0 lab_meshlb check --force -f "$LAB_DIR/taken.yaml"
sed -i 's/^datapath: ipvs/datapath: nft/' "$LAB_DIR/taken.yaml" # no datapath would leave it its connections
expect 1 lab_meshlb check -f "$LAB_DIR/taken.yaml"
expect_text "$ERR" "taken.yaml:[0-9]+: listen: \"$VIP4:9000/tcp\": a virtual service of IPVS that meshlb has not made"
ipvs_in -A -t "$VIP4:0" -s rr -p 60 # of all ports
expect 1 apply
expect_text "$ERR" "yaml:[0-9]+: listen: \"$VIP4:8085/tcp\": a virtual service of IPVS that meshlb has not made is at $VIP4:0"
ipvs_in -D -t "$VIP4:0"
equal tables "$(nft_in list tables)" ''
restored

step 'a scheduler without its module: the same'
modprobe -r ip_vs_mh # what was refused may have been tried before
mkdir -p /etc/modprobe.d # the guest's own
echo 'install ip_vs_mh /bin/false' >/etc/modprobe.d/meshlb-test.conf
expect 1 apply
expect_text "$ERR" 'yaml:[0-9]+: scheduler of service: "flow": datapath ipvs has no mh here: module ip_vs_mh cannot be loaded'
equal tables "$(nft_in list tables)" ''
equal "virtual services" "$(ipvs_in -Sn | sort)" "$theirs"
restored
expect 0 lab_meshlb probe
expect_text "$OUT" '^ipvs +IPVS scheduler mh \(module ip_vs_mh\) +no '
expect_text "$OUT" '^ipvs +IPVS scheduler wrr \(module ip_vs_wrr\) +yes'
expect 1 lab_meshlb check -f "$CONFIG"
expect_text "$ERR" 'datapath ipvs has no mh here'
expect 0 apply --best-effort
expect_text "$ERR" 'left out: .*datapath ipvs has no mh here'
expect 0 verify --best-effort
expect 3 verify
expect 0 lab_meshlb down
rm /etc/modprobe.d/meshlb-test.conf

step 'schedulers, and the sysctls'
expect 0 apply
expect_text "$ERR" 'service "chance": IPVS has no scheduler random: wrr takes its place'
expect_text "$ERR" 'service "flow": maglev-size 65537: IPVS.s mh has a table of 4093'
expect_text "$ERR" 'sysctl net/ipv4/vs/conntrack: 1, was 0'
equal "r1's forwarding" "$(lab_in node1 sysctl -n net.ipv4.conf.r1.forwarding)" 1
equal 'forwarding, IPv6' "$(lab_in node1 sysctl -n net.ipv6.conf.all.forwarding)" 1
expect 0 verify
theirs_stay
expect_alternation 4 4
expect_alternation 6 4
equal 'wrr 3:1, of 8' "$(who 8081 8)" '7 3'
equal 'random, as wrr 3:1, of 4' "$(who 8082 4)" '4 2'
[[ $(who 8083 4) == '5 1' || $(who 8083 4) == '1 5' ]] || fail "sh: $(who 8083 4)"
read -r first second <<<"$(who 8084 24)"
((first > 2 && second > 2)) || fail "maglev: $((first - 1)) and $((second - 1))"
equal 'the client that nginx sees' "$(seen_client 4)" $CLIENT4
equal 'the client that nginx sees' "$(seen_client 6)" $CLIENT6

step 'an address goes before any address; counters by service; connections'
expect_alternation 4 4 node1:8085
sleep 2.2 # the kernel sums up every two seconds
count() { lab_meshlb -j service show "$1" | jq ".counters.$2"; }
equal 'connections of bound' "$(count bound connections)" 4
equal 'connections of star' "$(count star connections)" 0
equal 'connections of turns' "$(count turns connections)" 8
(($(count turns packets_in) >= 8 * 4 && $(count turns bytes_out) > 8 * 200)) ||
	fail "packets and bytes of turns: $(lab_meshlb stats)"
equal 'conn count of turns' "$(lab_meshlb -j conn count --service turns | jq .connections)" 8
equal 'conn count of IPv6' "$(lab_meshlb -j conn ls --client '2001:db8::/64' | jq '.connections | length')" 5
expect 1 lab_meshlb conn flush
expect_text "$ERR" 'datapath ipvs cannot forget connections'
expect 0 lab_meshlb conn gc
equal 'conn gc' "$OUT" '0 collected'
expect_text "$ERR" 'datapath ipvs: the kernel itself forgets'
expect 0 lab_meshlb status
expect_text "$OUT" '^connections IPv4 +[0-9]+ +-'

step 'drain, weight: connections live on, and a second apply keeps what was set by hand'
held=$(hold_open h 4)
backend=10.0.1.2:80
[[ ${REPLICAS[$held]} == r1 ]] || backend=10.0.2.2:80
expect 0 lab_meshlb backend drain vote $backend
for _ in 1 2 3; do [[ $(ask 4) != "$held" ]] || fail 'a drained backend got a connection'; done
equal 'the connection that stood' "$(ask_held h)" "$held"
expect 0 apply
expect_text "$OUT" 'no difference'
equal overrides "$(lab_meshlb -j status | jq '.overrides | length')" 1
expect 0 apply --reset-overrides
expect_alternation 4 4
equal 'the connection that stood' "$(ask_held h)" "$held"
expect 0 verify

step 'sh: the clients of a drained backend are served by the others'
lab_addr node2 eth0 192.0.2.{11..22}/24
clients() {
	local i
	for i in {11..22}; do
		lab_in node2 curl -sS -m $MOMENT --interface "192.0.2.$i" "$VIP4:8083" | grep -oE '[0-9a-f]{12}' || echo none
	done | sort | uniq -c | awk '{ print $2 }'
}
equal 'sh: replicas before' "$(clients | wc -l)" 2
expect 0 lab_meshlb backend drain client 10.0.1.2:82
equal 'sh: replicas with r1 drained' "$(clients)" "$(lab_id r2)"
expect 0 lab_meshlb backend undrain client 10.0.1.2:82
expect 0 verify

step 'damage is found, named and repaired'
mark=$(nft_in -j list map inet "$TABLE" marks4_any |
	jq '.nftables[] | .map? // empty | .elem[] | select(.[0].concat == ["tcp", 8080]) | .[1]')
other=$((mark ^ 1))
damaged() { # WHAT PATTERN
	expect 3 verify
	expect_text "$OUT" "$2"
	echo "$1: $(grep -m1 -E -- "$2" <<<"$OUT")"
	expect 0 apply
	REPAIRED=$OUT
	expect_text "$REPAIRED" 'repaired: '
	expect 0 verify
	equal 'who answers' "$(served_by 8080 | grep -cE '^(r1|r2|mixed)$')" 1
}
ipvs_in -d -f "$mark" -r 10.0.1.2:80
damaged 'a destination less' 'service "vote": destination 10.0.1.2:80 is missing'
ipvs_in -e -f "$mark" -r 10.0.1.2:80 -m -w 5
ipvs_in -a -f "$mark" -r 10.0.9.9:80 -m
ipvs_in -a -f "$other" -r 10.0.9.8:80 -m
ipvs_in -E -f "$mark" -6 -s lc
ipvs_in -A -f $((mark + 2000)) -s rr
damaged 'much' 'service "vote": destination 10.0.1.2:80 has weight 5, should be 1'
for pattern in 'destination 10.0.9.9:80 is nobody' 'destination 10.0.9.8:80 is nobody' \
	"virtual service \(firewall mark $((mark + 2000)), IPv4\) is nobody" \
	'its virtual service \(firewall mark [0-9]+, IPv6\) has scheduler lc'; do
	expect_text "$REPAIRED" "repaired: .*$pattern"
done
ipvs_in -D -f "$mark"
nft_in delete element inet "$TABLE" marks6_any '{ tcp . 8080 }'
damaged 'a virtual service and a map' 'its virtual service \(firewall mark [0-9]+, IPv4\) is missing'
expect_text "$REPAIRED" 'repaired: set "marks6_any": element \{ tcp . 8080 \} is missing'
nft_in flush chain inet "$TABLE" prerouting
damaged 'no rules' 'rules: they are not as the last apply has made them'
nft_in add rule inet "$TABLE" prerouting drop
damaged 'a rule too many' 'rules: they are not as the last apply has made them'
lab_in node1 sysctl -qw net.ipv4.vs.expire_nodest_conn=0
damaged 'a sysctl' 'sysctl net/ipv4/vs/expire_nodest_conn is 0, should be 1'
theirs_stay
note=$(grep -l "^instance $LAB " /run/meshlb/ipvs-*)
was=$(<"$note")
rm "$note"
damaged 'its note' "\"$note\" does not name the instance"
equal 'the note' "$(<"$note")" "$(grep '^instance' <<<"$was")"
echo "$was" >"$note"
nft_in flush set inet "$TABLE" model
damaged 'no model' 'set "model" is empty'
theirs_stay
nft_in flush ruleset # as `systemctl reload nftables` does
expect 1 verify
expect_text "$ERR" 'there is none'
expect 0 apply
expect 0 verify
number=$(ipvs_in -Sn | grep -c -- '-A -f')
((number <= 8 * 4 + 1)) || fail "$number virtual services of marks: two for each service and family, and theirs"
expect_alternation 4 2
hold_open again 4 >/dev/null
nft_in flush ruleset
expect 0 lab_meshlb down
restored
equal 'virtual services' "$(ipvs_in -Sn | sort)" "$theirs"
expect 0 apply

step "somebody else's virtual service that comes to a listen later: it is told, and gets nothing"
ipvs_in -A -t "$VIP4:8080" -s rr
ipvs_in -a -t "$VIP4:8080" -r 10.0.9.9:80 -m
told="warning: service \"vote\": listen \"\*:8080/tcp\": a virtual service of IPVS that meshlb has not made is at $VIP4:8080, and gets no"
expect 0 verify
expect_text "$ERR" "$told"
sed "s/$VIP4:8081/$VIP4:9000/" "$CONFIG" >"$LAB_DIR/taken.yaml"
expect 3 lab_meshlb verify -f "$LAB_DIR/taken.yaml" # which apply would refuse
expect_text "$OUT" "listen: \"$VIP4:9000/tcp\": a virtual service of IPVS"
sed 's/scheduler: wrr/scheduler: rr/' "$CONFIG" >"$LAB_DIR/other.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/other.yaml"
expect_text "$ERR" "$told"
expect_alternation 4 2
ipvs_in -D -t "$VIP4:8080"
expect 0 apply
[[ $ERR != *'not made'* ]] || fail "it is gone: $ERR"

step 'a removed backend: its connections end, UDP is balanced anew'
lab_spawn r1 "$E2E/udp_echo.py" serve 5300
lab_spawn r2 "$E2E/udp_echo.py" serve 5300
held=$(hold_open gone 4)
other=r1 keep=0
[[ ${REPLICAS[$held]} == r1 ]] && other=r2 keep=1
v4=("${LAB_V4[@]}") v6=("${LAB_V6[@]}")
LAB_V4=("${v4[keep]}") LAB_V6=("${v6[keep]}")
write_config >"$LAB_DIR/one.yaml"
LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
lab_spawn node2 timeout 60 "$E2E/udp_echo.py" insist "$VIP4" 5300
wait "$LAB_PID" || fail 'UDP: it was never answered'
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"
expect 0 lab_meshlb verify -f "$LAB_DIR/one.yaml"
equal 'destinations' "$(ipvs_in -Sn | grep -- '-a -f' | grep -c -- "-r ${v4[1 - keep]}:" || true)" 0
echo >"$LAB_DIR/gone.in"
lab_until 8 grep -qiE 'reset|error|closed' "$LAB_DIR/gone.out" || fail "it lives on: $(tail -n 2 "$LAB_DIR/gone.out")"
equal 'who answers' "$(served_by 8080)" "$other"
lab_spawn node2 timeout 60 "$E2E/udp_echo.py" insist "$VIP4" 5300
wait "$LAB_PID" || fail 'UDP: it was not balanced anew'
expect 0 apply
expect_alternation 4 4

step 'INPUT, OUTPUT and FORWARD drop, as with Docker and firewalls: a chain of ours lets through what is ours'
lab_in node1 iptables-nft -P FORWARD DROP
lab_in node1 iptables-nft -P INPUT DROP
lab_in node1 iptables-nft -P OUTPUT DROP
lab_in node1 iptables-nft -A FORWARD -m conntrack --ctstate INVALID -j DROP
expect 3 verify
expect_text "$OUT" "iptables-nft: FORWARD does not lead to chain MESHLB-IPVS:$LAB"
expect_text "$OUT" "iptables-nft: INPUT does not lead to chain MESHLB-IPVS:$LAB"
expect_text "$OUT" "iptables-nft: OUTPUT does not lead to chain MESHLB-IPVS:$LAB"
expect 28 lab_in node2 curl -s -m 1 "$VIP4:8080"
expect 0 apply
expect 0 verify
expect_alternation 4 2
expect_alternation 6 2
lab_in node1 iptables-nft -P FORWARD ACCEPT
lab_in node1 iptables-nft -P INPUT ACCEPT
lab_in node1 iptables-nft -P OUTPUT ACCEPT
lab_in node1 iptables-nft -F FORWARD
expect 0 verify # nothing is dropped there
expect 0 lab_meshlb down
equal 'chains of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
nft_in delete table ip filter
expect 0 apply

step 'two instances beside each other'
lab_service second "$VIP4:8090" 80 | lab_config >"$LAB_DIR/second.yaml"
second() { lab_in node1 "$MESHLB" --instance "$LAB-2" "$@"; }
LAB_INSTANCES+=("$LAB-2")
expect 0 second apply -f "$LAB_DIR/second.yaml"
expect_alternation 4 2 node1:8090
expect_alternation 4 2
expect 0 verify
expect 0 second verify -f "$LAB_DIR/second.yaml"
expect 0 second down

step 'no number is free for another one: refused, and the sysctls of those that stand stay'
for k in $(seq 0 254); do
	printf -- '-A -f %d -s rr\n' $((0x40000000 | k << 22 | 0x3fff00))
done | ipvs_in -R
expect 1 second apply -f "$LAB_DIR/second.yaml"
expect_text "$ERR" 'datapath ipvs has room for 255 instances'
expect 3 verify # one of these marks is among its own
[[ $OUT != *sysctl* && $(wc -l <<<"$OUT") == 1 ]] || fail "more than that: $OUT"
expect_alternation 4 2
for k in $(seq 0 254); do
	printf -- '-D -f %d\n' $((0x40000000 | k << 22 | 0x3fff00))
done | ipvs_in -R
expect 0 verify

step 'a listen taken by force comes back when the change is not confirmed'
{
	lab_service vote '*:8080' 80
	lab_service taken "$VIP4:9000" 80
} | lab_config >"$LAB_DIR/taken.yaml"
expect 1 lab_meshlb apply -f "$LAB_DIR/taken.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/taken.yaml" --force
expect_text "$ERR" "warning: service \"taken\": .* is at $VIP4:9000, and gets no connections"
lab_service vote '*:8080' 80 | lab_config | sed 's/^datapath: .*/datapath: nft/' >"$LAB_DIR/away.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/away.yaml" --confirm-timeout 10s
has_decided() { [[ $(lab_meshlb -j status | jq -r .confirm.state) != waiting ]]; }
lab_until 60 has_decided
equal 'what became of it' "$(lab_meshlb -j status | jq -r .confirm.state)" undone
expect 0 lab_meshlb verify -f "$LAB_DIR/taken.yaml"
theirs_stay
expect 0 apply
equal 'expire_nodest_conn is still wanted' "$(sysctl_of expire_nodest_conn)" 1
expect 0 verify

step 'unknown: reset is what it does; lc: to the one with fewer connections, of those since its last change'
{
	lab_service vote '*:8080' 80 lc
	lab_service flow "$VIP4:8084" 83 maglev
	echo '    unknown: reset'
} | lab_config >"$LAB_DIR/lc.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/lc.yaml"
expect 0 lab_meshlb backend drain vote 10.0.1.2:80
for one in 1 2 3; do hold_open "r2-$one" 4 >/dev/null; done
expect 0 lab_meshlb backend undrain vote 10.0.1.2:80
for one in 1 2; do hold_open "both-$one" 4 >/dev/null; done
ids() { for one in "$@"; do ask_held "$one"; done | sort -u | wc -l; }
equal 'those to r2 alone' "$(ids r2-1 r2-2 r2-3)" 1
equal 'after the change both have none again' "$(ids both-1 both-2)" 2
expect 0 apply
expect 0 verify

step 'down gives back what it took'
expect 0 lab_meshlb down
restored
equal tables "$(nft_in list tables)" ''
equal 'virtual services' "$(ipvs_in -Sn | sort)" "$theirs"
expect 0 apply

step 'from datapath to datapath'
changes_to() {
	change_to "$1"
	theirs_stay
}
begin_traffic 8080
changes_to nft
changes_to ipvs
changes_to ebpf
# What a killed one would have left: it is named, and taken away.
ipvs_in -A -f $((mark & ~0x3fffff | 0x100)) -s rr
expect 3 verify
equal 'what verify says' "$OUT" 'datapath ipvs: an interrupted change of datapath has left a part of the instance there'
expect 0 apply
theirs_stay
expect 0 verify
changes_to ipvs
# A request under way may be reset by each change, or miss its answer; none may find nobody.
for one in "${TRAFFIC[@]}"; do
	kill "${one%%:*}"
	wait "${one%%:*}" || true
	log=$LAB_DIR/traffic-${one#*:}
	echo "traffic to ${one#*:}: $(tail -n 1 "$log")"
	grep -qE '^answered [1-9][0-9]* failed [0-4]$' "$log" || fail "too many failed: $(tail -n 9 "$log")"
	! grep 'failed: to connect:' "$log" || fail 'one found nobody'
done

step 'what nft has begun, and conntrack goes on with where anybody masquerades, ends with its backend'
nft_in 'add table ip other; add chain ip other post { type nat hook postrouting priority 100; }; add rule ip other post oifname nobody0 masquerade'
to_gone() { # what conntrack translates to the backend that one.yaml lacks
	grep -c "dst=$VIP4 sport=[0-9]* dport=5300 .*src=${v4[1 - keep]} " \
		<(lab_in node1 cat /proc/net/nf_conntrack) || true
}
changes_to nft
expect 0 lab_in node2 "$E2E/udp_echo.py" ask "$VIP4" 5300 4 8
changes_to ipvs
(($(to_gone) > 0)) || fail 'the lab: conntrack has let go of it'
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"
equal 'what conntrack sends to the removed backend' "$(to_gone)" 0
nft_in delete table ip other
expect 0 apply

step 'killed at calls of a change: before or after, and the next apply repairs'
LAB_V4=("${v4[1]}") LAB_V6=("${v6[1]}")
write_config >"$LAB_DIR/after.yaml"
before=$(served_by 8083) seen='' # a hash: the same each time
[[ $before == r1 ]] || {
	LAB_V4=("${v4[0]}") LAB_V6=("${v6[0]}")
	write_config >"$LAB_DIR/after.yaml"
}
after=$([[ $before == r1 ]] && echo r2 || echo r1)
number=$(lab_in node1 strace -f -qq -e trace=sendto,sendmsg \
	"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/after.yaml" 2>&1 >/dev/null | grep -cE '(sendto|sendmsg)\(')
samples=$((${TEST_FULL:-0} ? number : 6))
for ((i = 0; i < samples; i++)); do
	at=$((1 + i * (number - 1) / (samples - 1)))
	apply >/dev/null
	lab_in node1 strace -f -qq -e trace=sendto,sendmsg -e "inject=sendto,sendmsg:signal=KILL:when=$at" \
		-o /dev/null "$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/after.yaml" &>/dev/null || true
	served=$(served_by 8083)
	seen+=" $served"
	[[ $served == "$before" || $served == "$after" ]] ||
		fail "killed at call $at: neither before ($before) nor after ($after): $served"
	expect 0 lab_meshlb apply -f "$LAB_DIR/after.yaml"
	expect 0 lab_meshlb verify -f "$LAB_DIR/after.yaml"
	equal "after repair, killed at call $at" "$(served_by 8083)" "$after"
done
echo "killed at $samples of $number calls:$seen"
[[ $seen == *" $before"*" $after"* ]] || fail "not first as before ($before) and then as after ($after)"
theirs_stay

expect 0 lab_meshlb down
equal tables "$(nft_in list tables)" ''
equal 'virtual services' "$(ipvs_in -Sn | sort)" "$theirs"

step 'killed while the instance is made: there is none, and it goes or is made whole'
number=$(lab_in node1 strace -f -qq -e trace=sendto,sendmsg \
	"$MESHLB" --instance "$LAB" apply -f "$CONFIG" 2>&1 >/dev/null | grep -cE '(sendto|sendmsg)\(')
lab_meshlb down
for part in 20 70; do
	lab_in node1 strace -f -qq -e trace=sendto,sendmsg \
		-e "inject=sendto,sendmsg:signal=KILL:when=$((number * part / 100))" -o /dev/null \
		"$MESHLB" --instance "$LAB" apply -f "$CONFIG" &>/dev/null || true
	equal 'who answers' "$(served_by 8080)" none
	expect 1 lab_meshlb status
	[[ $part == 20 ]] || expect_text "$ERR" 'only a part of it is there'
	if [[ $part == 20 ]]; then
		expect 0 apply
		expect 0 verify
	fi
	expect 0 lab_meshlb down
	restored
	equal 'virtual services' "$(ipvs_in -Sn | sort)" "$theirs"
done
