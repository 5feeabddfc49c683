#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# nft.sh - what is nft's own: schedulers by rings, damage to the table, removed backends, a change of
# the datapath under traffic, `auto`, kills at every netlink call.
# hooks: nft
# limit: 400
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TABLE=meshlb_$LAB
nft_in() { lab_in node1 nft "$@"; }

lab_topology direct 2
lab_nginx r1 r2
declare -A REPLICAS=([$(lab_id r1)]=r1 [$(lab_id r2)]=r2)
write_config() { scheduler_services | lab_config; }
write_config >"$CONFIG"
expect 0 apply
expect_text "$ERR" 'service "flow", IPv4: maglev-size 65537: the table has 251 slots in nft'
expect 0 verify

step 'schedulers'
expect_alternation 4 6
expect_alternation 6 6
equal 'wrr 3:1, of 8' "$(who 8081 8)" '7 3'
read -r first second <<<"$(who 8082 40)"
((first > second && second > 1)) || fail "random 3:1: $((first - 1)) and $((second - 1))"
[[ $(who 8083 6) == '7 1' || $(who 8083 6) == '1 7' ]] || fail "sh: $(who 8083 6)"
read -r first second <<<"$(who 8084 40)"
((first > 5 && second > 5)) || fail "maglev: $((first - 1)) and $((second - 1))"

step 'an address goes before any address; counters by service'
expect_alternation 4 4 node1:8085
count() { lab_meshlb -j service show "$1" | jq ".counters.$2"; }
equal 'connections of bound' "$(count bound connections)" 4
equal 'connections of star' "$(count star connections)" 0
equal 'connections of turns' "$(count turns connections)" 8
(($(count turns packets_in) >= 8 * 4 && $(count turns bytes_out) > 8 * 200)) ||
	fail "packets and bytes of turns: $(lab_meshlb stats)"

step 'drain, weight: connections live on, and a second apply keeps what was set by hand'
held=$(hold_open h 4)
backend=10.0.1.2:80
[[ ${REPLICAS[$held]} == r1 ]] || backend=10.0.2.2:80
expect 0 lab_meshlb backend drain vote $backend
for _ in 1 2 3; do [[ $(ask 4) != "$held" ]] || fail 'a drained backend got a connection'; done
equal 'the connection that stood' "$(ask_held h)" "$held"
expect 0 apply
expect_text "$OUT" 'no difference'
equal 'overrides' "$(lab_meshlb -j status | jq '.overrides | length')" 1
expect 0 lab_meshlb backend drain vote "$([[ $backend == 10.0.1.2:80 ]] && echo 10.0.2.2:80 || echo 10.0.1.2:80)"
! lab_as_user node2 curl -s -m 2 -4 node1:8080 >/dev/null || fail 'all drained, and one answers'
expect 0 apply --reset-overrides
expect_alternation 4 4
equal 'the connection that stood' "$(ask_held h)" "$held"

step 'damage is found, named and repaired'
damage() { # WHAT PATTERN NFT-COMMAND...
	nft_in "${@:3}"
	expect 3 verify
	expect_text "$OUT" "$2"
	echo "$1: $(grep -m1 -E -- "$2" <<<"$OUT")"
	expect 0 apply
	expect_text "$OUT" 'repaired: '
	expect 0 verify
	equal "$1: an apply after it" "$(apply)" 'no difference'
	expect_alternation 4 2 >/dev/null
	expect_alternation 6 2 >/dev/null
}
damage 'a slot' 'map|set "tcp4_any_inc2_ring": element \{ 8080 . 0 \} is missing' \
	delete element inet "$TABLE" tcp4_any_inc2_ring '{ 8080 . 0 }'
damage 'another backend' 'element \{ 8080 . 1 \} is "10.0.1.2 . 80", should be' \
	"delete element inet $TABLE tcp4_any_inc2_ring { 8080 . 1 }; add element inet $TABLE tcp4_any_inc2_ring { 8080 . 1 : 10.0.1.2 . 80 }"
damage 'a listen too many' 'set "tcp4_any_inc2": element \{ 9999 \} is nobody' \
	add element inet "$TABLE" tcp4_any_inc2 '{ 9999 }'
damage 'an interface' 'set "interfaces": element \{ eth0 \} is missing' \
	delete element inet "$TABLE" interfaces '{ "eth0" }'
damage 'no rules' 'chain "prerouting": rule "interfaces" is missing' flush chain inet "$TABLE" prerouting
damage 'a rule before ours' 'chain "forward": rule 1 is "", should be in4' \
	insert rule inet "$TABLE" forward drop
damage 'a rule behind ours' 'chain "postrouting": rule 5 is "x", should be none' \
	add rule inet "$TABLE" postrouting masquerade comment x
handle=$(nft_in -a list chain inet "$TABLE" prerouting | sed -n 's/.*comment "tcp4_any_inc2" # handle //p')
damage 'a rule of another size' 'chain "prerouting": rule "tcp4_any_inc2" was changed' \
	replace rule inet "$TABLE" prerouting handle "$handle" meta nfproto ipv4 tcp dport @tcp4_any_inc2 \
	dnat ip to tcp dport . numgen inc mod 1 map @tcp4_any_inc2_ring comment tcp4_any_inc2
damage 'asleep' 'the table is dormant' "add table inet $TABLE { flags dormant; }"
damage 'a policy' 'chain "forward" has another hook, priority or policy' \
	"add chain inet $TABLE forward { policy drop; }"
damage 'a chain of others' 'chain "evil" is nobody' \
	"add chain inet $TABLE evil { type filter hook prerouting priority -300; policy drop; }"
damage 'a set of others' 'set "theirs" is nobody' "add set inet $TABLE theirs { type ipv4_addr; }"
handle=$(nft_in -a list chain inet "$TABLE" prerouting | sed -n 's/.*comment "interfaces" # handle //p')
damage 'a rule turned round' 'rules: they are not as the last apply' \
	replace rule inet "$TABLE" prerouting handle "$handle" iifname @interfaces return comment interfaces
for record in '0 . 1' '0 . 2' '0 . 3' '1 . 0' '1 . 1' '1 . 2' '1 . 3'; do
	damage "record $record" '.' delete element inet "$TABLE" model "{ $record }"
done
nft_in flush set inet "$TABLE" model
expect 0 lab_meshlb export
expect_text "$ERR" "warning: instance \"$LAB\": set \"model\" is empty in table \"inet $TABLE\": .*.meshlb apply. makes it anew"
damage 'no model' 'set "model" is empty' "flush set inet $TABLE model"
damage 'no sign whose it is' 'set "model": element \{ 0 . 0 \} is missing' "delete element inet $TABLE model { 0 . 0 }"
nft_in insert rule inet "$TABLE" forward drop
sed 's/scheduler: random/scheduler: rr/' "$CONFIG" >"$LAB_DIR/other.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/other.yaml"
expect_text "$OUT" 'repaired: chain "forward": rule 1'
expect 0 lab_meshlb verify -f "$LAB_DIR/other.yaml"
expect 0 apply
damage 'no chain' 'chain "forward" is missing' "flush chain inet $TABLE forward; delete chain inet $TABLE forward"
expect_alternation 4 4
equal 'the connection that stood' "$(ask_held h)" "$held"

step 'another instance that takes the same, on each datapath that is here'
LAB_INSTANCES+=("$LAB-b.c")
other() { lab_in node1 "$MESHLB" --instance "$LAB-b.c" "$@"; }
too() { grep -oE 'warning: .* too, on .* \(datapath [a-z]+\)' <<<"$ERR" || true; }
for datapath in nft ebpf; do
	lab_service theirs '0.0.0.0:8080,198.51.100.1:8082' 80 | lab_config | sed "s/^datapath: .*/datapath: $datapath/" >"$LAB_DIR/other.yaml"
	expect 0 other apply -f "$LAB_DIR/other.yaml"
	equal 'what its apply warns of' "$(too)" \
		"warning: service \"theirs\": listen \"0.0.0.0:8080/tcp\" is instance \"$LAB\"'s, too, on interface \"eth0\" (datapath nft)"
	expect 0 verify
	equal 'what verify warns of' "$(too)" \
		"warning: service \"vote\": listen \"*:8080/tcp\" is instance \"$LAB-b.c\"'s, too, on interface \"eth0\" (datapath $datapath)"
	sed -i 's/0.0.0.0:8080/192.0.2.1:8099/' "$LAB_DIR/other.yaml"
	expect 0 other apply -f "$LAB_DIR/other.yaml"
	equal 'warnings where no listen is shared' "$(too)" ''
done
expect 0 other down

step 'a table of an older meshlb is made anew, one of a newer or unknown one refused'
magic() { # VERSION
	nft_in "delete element inet $TABLE model { 0 . 0 }; add element inet $TABLE model { 0 . 0 comment \"meshlb nft $1\" }"
}
magic 1
nft_in "flush chain inet $TABLE masq4; flush set inet $TABLE masq4"
expect 0 lab_meshlb status
expect 3 verify
expect 0 apply
expect 0 verify
for version in 0 3; do
	magic $version
	for command in status 'backend drain vote 10.0.1.2:80' "apply -f $CONFIG"; do
		# shellcheck disable=SC2086
		expect 1 lab_meshlb $command
		expect_text "$ERR" "its table has the layout \"meshlb nft $version\", this meshlb makes \"meshlb nft 2\""
	done
done
magic 2
expect 0 verify

step 'a removed backend: its connections end at once, others stay'
other=r1
[[ ${REPLICAS[$held]} == r2 ]] || other=r2
v4=("${LAB_V4[@]}") v6=("${LAB_V6[@]}")
stays=$([[ $other == r1 ]] && echo 0 || echo 1)
LAB_V4=("${v4[stays]}") LAB_V6=("${v6[stays]}")
write_config >"$CONFIG"
expect 0 apply
equal 'connections to it' "$(lab_meshlb conn ls --backend "${v4[1 - stays]}" | tail -n +2)" ''
echo >"$LAB_DIR/h.in"
lab_until 5 grep -qiE 'reset|error|closed' "$LAB_DIR/h.out" || fail "it lives on: $(tail -n 2 "$LAB_DIR/h.out")"
equal 'who answers' "$(served_by 8080)" "$other"
LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
write_config >"$CONFIG"
expect 0 apply
expect_alternation 4 4

step 'conntrack refuses what follows the change: done in part, and the next apply ends the connections'
LAB_V4=("${v4[stays]}") LAB_V6=("${v6[stays]}")
write_config >"$LAB_DIR/one.yaml"
LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
one() { lab_in node1 strace -qq -o "$LAB_DIR/trace" -e trace=sendto "${@:2}" "$MESHLB" --instance "$LAB" "$1" -f "$LAB_DIR/one.yaml"; }
to_gone() { grep -c "src=${v4[1 - stays]} " <(lab_in node1 cat /proc/net/nf_conntrack) || true; }
ask 4 >/dev/null && ask 4 >/dev/null # one of these is to be forgotten
expect 0 one apply
refused=$(grep -n -m 1 CTNETLINK "$LAB_DIR/trace" | cut -d: -f1)
expect 0 apply
ask 4 >/dev/null && ask 4 >/dev/null
expect 4 one apply -e inject=sendto:error=EPERM:when="$refused"
expect_text "$OUT" "^ +- ${v4[1 - stays]}"
expect_text "$ERR" 'warning: left undone: reading conntrack: Operation not permitted'
(($(to_gone) > 0)) || fail 'the lab: nothing was left'
expect 3 lab_meshlb verify -f "$LAB_DIR/one.yaml"
expect_text "$OUT" 'connections to backends that it has removed may live on'
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"
equal 'connections to the removed backend' "$(to_gone)" 0
expect 0 lab_meshlb verify -f "$LAB_DIR/one.yaml"
expect 0 apply
expect_alternation 4 4

step 'connections end with their backend also by an apply that comes with a repair, which makes the table anew'
(($(to_gone) > 0)) || fail 'the lab: nothing is to be forgotten'
nft_in insert rule inet "$TABLE" forward drop
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"
expect_text "$OUT" 'repaired: chain "forward": rule 1'
equal 'connections to the removed backend' "$(to_gone)" 0
expect 0 lab_meshlb verify -f "$LAB_DIR/one.yaml"
expect 0 apply
expect_alternation 4 4

step 'UDP that began before its service; what one service loses is not what another has'
lab_spawn r1 "$E2E/udp_echo.py" serve 5300
lab_spawn r2 "$E2E/udp_echo.py" serve 5300
lab_spawn node2 timeout 20 "$E2E/udp_echo.py" insist "$VIP4" 5300
insists=$LAB_PID
sleep 1
# What only passes through this host to the same port is somebody else's.
passing() { grep -c "dst=${LAB_V4[1]} .*dport=5300 " <(lab_in node1 cat /proc/net/nf_conntrack) || true; }
expect 0 lab_in node2 "$E2E/udp_echo.py" ask "${LAB_V4[1]}" 5300 1 8
equal 'flows through this host' "$(passing)" 1
cp "$CONFIG" "$LAB_DIR/udp.yaml"
lab_service udp '*:5300/udp' 5300 >>"$LAB_DIR/udp.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/udp.yaml"
equal 'flows through this host after the apply' "$(passing)" 1
wait "$insists" || fail 'it was never answered'
sed '/name: eth0/d' "$LAB_DIR/udp.yaml" >"$LAB_DIR/blind.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/blind.yaml"
lab_spawn node2 timeout 20 "$E2E/udp_echo.py" insist "$VIP4" 5300
insists=$LAB_PID
sleep 1
kill -0 "$insists" || fail 'by an interface that is not one of ours it was answered'
expect 0 lab_meshlb apply -f "$LAB_DIR/udp.yaml"
wait "$insists" || fail 'by a new interface it was never answered'
expect 0 apply
{
	LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
	lab_service star '*:8080' 80
	LAB_V4=("${v4[0]}") LAB_V6=()
	lab_service exact "$VIP4:8080" 80
} | lab_config >"$LAB_DIR/two.yaml"
LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
expect 0 lab_meshlb apply -f "$LAB_DIR/two.yaml"
held=$(hold_open exact 4)
awk -v at="${v4[0]}:80" '/name: exact/ { exact = 1 } exact || !index($0, at)' \
	"$LAB_DIR/two.yaml" >"$LAB_DIR/less.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/less.yaml"
expect_text "$OUT" "- ${v4[0]}:80"
equal 'the connection of exact' "$(ask_held exact)" "$held"
expect 0 lab_meshlb down
equal 'connections after down' "$(lab_in node1 cat /proc/net/nf_conntrack 2>/dev/null | grep -c "dport=8080 src=${v4[0]}" || true)" 0
expect 0 apply

step 'FORWARD drops, as with Docker: a chain of ours lets through what is ours'
expect_dropping() { # COMMAND...: iptables in a flavour
	local passed=()
	lab_in node1 "$@" -P FORWARD DROP
	lab_in node1 "$@" -A FORWARD -i nobody0 -j ACCEPT
	expect 3 verify
	expect_text "$OUT" "$1: FORWARD does not lead to chain MESHLB-$LAB"
	expect 0 apply
	expect_text "$OUT" "repaired: $1: FORWARD does not lead"
	expect 0 verify
	[[ $(ask 4) && $(ask 6) ]] || fail "$1: nobody answers"
	equal 'passed besides' "$(lab_in node2 curl -s -m 1 -o /dev/null -w '%{http_code}' "http://${LAB_V4[1]}/" || true)" \
		"$([[ $1 == ip6* ]] && echo 200 || echo 000)"
	# Docker puts its jumps in front; the administrator's own chain stays there.
	lab_in node1 "$@" -N DOCKER-USER
	lab_in node1 "$@" -I FORWARD -j DROP
	lab_in node1 "$@" -I FORWARD -j DOCKER-USER
	expect 3 verify
	expect_text "$OUT" "$1: FORWARD has rules before chain MESHLB-$LAB"
	expect 0 apply
	expect 0 verify
	mapfile -t passed < <(lab_in node1 "$@" -S FORWARD | sed 's/.* -j //' | head -n 4)
	equal order "${passed[*]}" "-P FORWARD DROP DOCKER-USER MESHLB-$LAB DROP"
	[[ $(ask 4) && $(ask 6) ]] || fail "$1: nobody answers"
	# What others put in front of it does not bring us there: whom it drops is not served.
	lab_in node1 "$@" -I FORWARD -i wg0 -j ACCEPT
	expect 0 verify
	lab_in node1 "$@" -A DOCKER-USER -i eth0 -p tcp --dport 80 -j DROP
	lab_in node1 "$@" -I FORWARD 2 -j "MESHLB-$LAB"
	expect 3 verify
	expect_text "$OUT" "$1: FORWARD leads to chain MESHLB-$LAB before DOCKER-USER"
	expect 0 apply
	mapfile -t passed < <(lab_in node1 "$@" -S FORWARD | sed 's/.* -j //' | head -n 5)
	equal order "${passed[*]}" "-P FORWARD DROP ACCEPT DOCKER-USER MESHLB-$LAB DROP"
	equal 'blocked' "$(lab_in node2 curl -s -m 1 "-$([[ $1 == ip6* ]] && echo 6 || echo 4)" -o /dev/null \
		-w '%{http_code}' node1:8080 || true)" 000
	lab_in node1 "$@" -F DOCKER-USER
	lab_in node1 "$@" -F "MESHLB-$LAB"
	expect 3 verify
	expect_text "$OUT" "$1: chain MESHLB-$LAB is not as it should be"
	expect 0 apply
	expect 0 lab_meshlb down
	equal 'rules of ours after down' "$(lab_in node1 "$@" -S | grep -c MESHLB || true)" 0
	lab_in node1 "$@" -P FORWARD ACCEPT
	lab_in node1 "$@" -F
	lab_in node1 "$@" -X
	expect 0 apply
	[[ $(ask 4) && $(ask 6) ]] || fail "$1: nobody answers"
}
for flavour in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
	expect_dropping $flavour
done
nft_in 'delete table ip filter; delete table ip6 filter'

step 'chains of nftables alone that drop are warned of, but for those that accept what is DNAT'
warned() { grep -cE 'table "inet fw" of nftables: chain "passing" drops .* mark 0x40000000/0x40000000' <<<"$ERR" || true; }
expect_warned() { # TIMES POLICY RULE...
	local rule policy=$2
	nft_in "add table inet fw; add chain inet fw passing { type filter hook forward priority 0; policy $policy; }"
	nft_in 'add chain inet fw to_host { type filter hook input priority 0; policy drop; }' # not by here
	for rule in "${@:3}"; do nft_in "add rule inet fw passing $rule"; done
	expect 0 lab_meshlb down
	expect 0 apply
	equal "warnings of policy ${*:2}" "$(warned)" "$1"
	[[ $1 == 0 ]] || ! lab_in node2 curl -s -m 1 -o /dev/null "$VIP4:8080" || fail 'it is not dropped'
	[[ $1 != 0 ]] || [[ $(ask 4) ]] || fail 'nobody answers'
	nft_in delete table inet fw
}
expect_warned 1 drop 'ip saddr 203.0.113.1 accept'
expect_warned 1 accept 'tcp dport 22 accept' 'counter reject with icmpx admin-prohibited'
expect_warned 0 accept 'ip saddr 203.0.113.1 drop'
expect_warned 0 accept 'ct state established,related accept' 'ct status dnat accept' reject

step 'to ebpf and back: connections of nft live on under ebpf, those of ebpf are reset under nft'
changes_to() { # and nothing stays on the other
	local there=ebpf
	change_to "$1"
	equal tables "$(nft_in list tables | grep -c "$TABLE" || true)" "$([[ $1 == nft ]] && echo 1 || echo 0)"
	[[ -e $PINS ]] || there=nft
	equal 'the instance' $there "$1"
}
# Somebody else's NAT, as on any host with Docker: without one the kernel takes its NAT away with our
# table, and with it what holds the connections together.
nft_in 'add table ip theirs; add chain ip theirs nat { type nat hook postrouting priority 100; }; add rule ip theirs nat ip saddr 203.0.113.0/24 masquerade'
held=$(hold_open under_nft 4)
begin_traffic 8080
changes_to ebpf
end_traffic
equal 'the connection made under nft' "$(ask_held under_nft)" "$held"
hold_open under_ebpf 4 >/dev/null
changes_to nft
echo >"$LAB_DIR/under_ebpf.in"
lab_until 5 grep -qiE 'reset|error|closed' "$LAB_DIR/under_ebpf.out" || fail 'it was not reset'

step 'what was begun under nft ends when its backend is removed from ebpf, or that is brought down'
udp_by() { # DATAPATH: a service of $LAB_V4
	lab_service udp '*:5300/udp' 5300 | lab_config | sed "s/^datapath: .*/datapath: $1/"
}
tracked() { grep -cE "$1" <(lab_in node1 cat /proc/net/nf_conntrack) || true; }
to() { tracked "dst=$VIP4 .*dport=5300 .*src=$1 "; }
LAB_V6=()
udp_by nft >"$LAB_DIR/both.yaml"
udp_by ebpf >"$LAB_DIR/both-ebpf.yaml"
LAB_V4=("${v4[1]}")
udp_by nft >"$LAB_DIR/second.yaml"
udp_by ebpf >"$LAB_DIR/second-ebpf.yaml"
LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
expect 0 lab_in node2 "$E2E/udp_echo.py" ask "$VIP4" 5300 4 8
expect 0 lab_meshlb apply -f "$LAB_DIR/both-ebpf.yaml"
equal 'what conntrack goes on with' "$(to "${v4[0]}") $(to "${v4[1]}")" '2 2'
expect 0 lab_meshlb apply -f "$LAB_DIR/second-ebpf.yaml"
equal 'and what, after the first was removed' "$(to "${v4[0]}") $(to "${v4[1]}")" '0 2'
expect 0 lab_meshlb down
equal 'and after down' "$(to "${v4[0]}") $(to "${v4[1]}")" '0 0'

step 'what a backend has said before it was one is no answer of the service'
says() { # TO_PORT: the first one, by itself
	lab_in r1 python3 -c 'import socket, struct, sys
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).sendto(
	struct.pack("!HHHH", 5300, int(sys.argv[2]), 8, 0), (sys.argv[1], 0))' "$CLIENT4" "$1"
}
said() { tracked "src=${v4[0]} dst=$CLIENT4 sport=5300 dport=$1 "; }
says 7001
equal 'entries' "$(said 7001)" 1
expect 0 lab_meshlb apply -f "$LAB_DIR/second.yaml"
equal 'entries, of whom it has not' "$(said 7001)" 1
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
equal 'entries' "$(said 7001)" 0
expect 0 lab_meshlb down
says 7002
equal 'entries' "$(said 7002)" 1
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
equal 'entries' "$(said 7002)" 0
nft_in delete table ip theirs

step 'who may not look at nft makes nothing beside it'
expect 1 lab_in node1 setpriv --bounding-set -net_admin --inh-caps -net_admin \
	"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/both-ebpf.yaml"
expect_text "$ERR" 'Operation not permitted'
[[ ! -e $PINS ]] || fail "left behind: $PINS"
expect 0 apply

step 'killed while the datapath changes: somebody serves at every moment, and the next apply ends it'
cp "$CONFIG" "$LAB_DIR/nft.yaml"
sed 's/^datapath: .*/datapath: ebpf/' "$CONFIG" >"$LAB_DIR/ebpf.yaml"
both=0 turn=0 kills=$((${TEST_GUEST:-0} ? 5 : 12)) # there one takes half a minute
for to in ebpf nft; do
	from=$([[ $to == ebpf ]] && echo nft || echo ebpf)
	number=$(lab_in node1 strace -f -qq -e trace=bpf,sendto,sendmsg,unlinkat \
		"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/$to.yaml" 2>&1 >/dev/null |
		grep -cE '(bpf|sendto|sendmsg|unlinkat)\(')
	for n in $(seq 2 $((number / kills + 1)) "$number") "$number"; do
		lab_meshlb apply -f "$LAB_DIR/$from.yaml" >/dev/null
		lab_in node1 strace -f -qq -e trace=bpf,sendto,sendmsg,unlinkat \
			-e "inject=bpf,sendto,sendmsg,unlinkat:signal=KILL:when=$n" -o /dev/null \
			"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/$to.yaml" &>/dev/null || true
		[[ $(ask 4) && $(ask 6) ]] || fail "to $to, killed at call $n: nobody answers"
		# On with it, or back: nothing may stay on the other one.
		end=$to
		((turn++ % 2)) || end=$from
		if [[ -e $PINS ]] && nft_in list table inet "$TABLE" &>/dev/null; then
			both=$((both + 1))
			expect 3 lab_meshlb verify -f "$LAB_DIR/$end.yaml"
			expect_text "$OUT" 'an interrupted change of datapath has left (the|a part of the) instance there'
		fi
		lab_meshlb apply -f "$LAB_DIR/$end.yaml" >/dev/null
		expect 0 lab_meshlb verify -f "$LAB_DIR/$end.yaml"
		equal "to $to, killed at call $n" "$(lab_meshlb -j status | jq -r .datapath)" "$end"
		equal 'tables' "$(nft_in list tables | grep -c "$TABLE" || true)" "$([[ $end == nft ]] && echo 1 || echo 0)"
		[[ -e $PINS ]] && there=ebpf || there=nft
		equal 'pins' "$there" "$end"
	done
done
((both > 0)) || fail 'no kill came while both were there'
echo "$both kills while both were there"

step 'auto: without bpf() it is nft, and says why'
[[ ${TEST_GUEST:-0} != 1 ]] || take_away ip_vs # which it would rather have
sed 's/^datapath: .*/datapath: auto/' "$CONFIG" >"$LAB_DIR/auto.yaml"
lab_meshlb down >/dev/null
no_bpf() {
	lab_in node1 setpriv --bounding-set -bpf,-sys_admin --inh-caps -bpf,-sys_admin \
		"$MESHLB" --instance "$LAB" "$@"
}
expect 0 no_bpf apply -f "$LAB_DIR/auto.yaml"
expect_text "$ERR" 'datapath nft: datapath "ebpf": .*Operation not permitted'
expect 0 no_bpf status
expect_text "$OUT" '^datapath auto: datapath "ebpf": .*Operation not permitted'
expect_alternation 4 4
expect 0 no_bpf probe
expect_text "$OUT" '^ebpf +datapath +no +.*Operation not permitted'
expect_text "$OUT" '^nft +datapath +yes'
expect 0 lab_meshlb probe
expect_text "$OUT" '^ebpf +datapath +yes'
expect_text "$OUT" '^ebpf +XDP programs +yes'
equal 'helpers' "$(grep -cE '^ebpf +(XDP|tc): helper bpf_[a-z_0-9]+ +yes' <<<"$OUT")" 9
expect_text "$OUT" '^interface +eth0: native XDP +[^ ]+ '
expect_text "$OUT" '^kernel +net/ipv4/ip_forward +yes'
expect 0 no_bpf down

step 'auto: without a bpffs that can be written to, too; all of it works, down as well'
read_only() {
	# shellcheck disable=SC2016
	lab_in node1 unshare -m sh -c 'mount -t bpf -o ro bpf /sys/fs/bpf && exec "$@"' - \
		"$MESHLB" --instance "$LAB" "$@"
}
expect 0 read_only apply -f "$LAB_DIR/auto.yaml"
expect_text "$ERR" 'datapath nft: datapath "ebpf": bpffs: Read-only file system'
expect_alternation 4 2
expect 0 read_only verify
expect 0 read_only probe
expect_text "$OUT" '^ebpf +bpffs +no +Read-only file system'
expect 0 read_only down
expect 0 read_only apply -f "$LAB_DIR/auto.yaml"
kernel_has_iterators && iterators=yes || iterators=no
equal 'iterators over maps' \
	"$(lab_meshlb -j probe | jq -r '.capabilities[] | select(.name == "iterators over maps").here')" "$iterators"
expect 1 no_bpf apply -f <(sed 's/^datapath: auto/datapath: ebpf/' "$LAB_DIR/auto.yaml")
expect_text "$ERR" 'datapath "ebpf": .*Operation not permitted'
expect_alternation 4 4
expect 0 lab_meshlb apply -f "$LAB_DIR/auto.yaml"
expect_text "$OUT" '^~ datapath nft -> ebpf$'
expect_alternation 4 4
lab_meshlb down >/dev/null

step 'verify during a change of datapath waits for its end; an interface that has gone is told'
lab_in node1 ip link add lost0 type veth peer name lost1
sed 's/^interfaces:/&\n  - { name: lost0 }/' "$CONFIG" >"$LAB_DIR/lost.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/lost.yaml"
for i in 1 2; do
	for config in ebpf lost; do
		lab_meshlb apply -q -f "$LAB_DIR/$config.yaml" >/dev/null 2>&1 &
		applies=$!
		while kill -0 $applies 2>/dev/null; do
			if lab_meshlb verify -f "$LAB_DIR/$config.yaml" 2>&1 | grep interrupted; then
				fail 'a change under way was told as an interrupted one'
			fi
		done
		wait $applies || fail "the apply of $config.yaml failed"
	done
done
lab_in node1 ip link delete lost0
expect 3 lab_meshlb verify -f "$LAB_DIR/lost.yaml"
expect_text "$OUT" 'interface "lost0": there is no such interface'
lab_meshlb down >/dev/null

step "a table of somebody else's by our name: refused, and left alone"
nft_in "add table inet $TABLE; add chain inet $TABLE theirs"
expect 1 apply
expect_text "$ERR" "there is a table \"inet $TABLE\" that meshlb has not made"
expect 1 lab_meshlb down
nft_in list chain inet "$TABLE" theirs >/dev/null || fail 'it is gone'
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
expect 0 lab_meshlb down # of what is ours
[[ ! -e $PINS ]] || fail "left behind: $PINS"
nft_in list chain inet "$TABLE" theirs >/dev/null || fail 'it is gone'
nft_in delete table inet "$TABLE"

step 'a chain that a killed apply has left in iptables goes with down'
lab_in node1 iptables-nft -P FORWARD DROP
lab_in node1 iptables-nft -N "MESHLB-$LAB"
lab_in node1 iptables-nft -A FORWARD -j "MESHLB-$LAB"
expect 0 lab_meshlb down
equal 'rules of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
nft_in delete table ip filter

step 'what a killed change of datapath has left of the other one, chains of iptables, is named and taken away'
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
lab_in node1 iptables-nft -P FORWARD DROP
lab_in node1 iptables-nft -N "MESHLB-$LAB"
expect 3 lab_meshlb verify -f "$LAB_DIR/ebpf.yaml"
equal 'what verify says' "$OUT" 'datapath nft: an interrupted change of datapath has left a part of the instance there'
lab_in node1 iptables-nft -S | grep -q "MESHLB-$LAB" || fail 'verify has changed something'
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
expect 0 lab_meshlb verify -f "$LAB_DIR/ebpf.yaml"
equal 'rules of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
expect 0 lab_meshlb down

step "somebody's rule leads to our chain: a change of datapath and down say what they leave, and take it when they can"
expect 0 apply
lab_in node1 iptables-nft -N ADMIN
lab_in node1 iptables-nft -A ADMIN -j "MESHLB-$LAB"
expect 4 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
expect_text "$OUT" '^~ datapath nft -> ebpf$'
expect_text "$ERR" 'left undone: iptables-nft-restore'
expect 4 lab_meshlb down
expect_text "$ERR" 'iptables-nft-restore'
equal tables "$(nft_in list tables | grep -c "$TABLE" || true)" 0
lab_in node1 iptables-nft -F ADMIN
expect 0 lab_meshlb down
equal 'rules of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
nft_in delete table ip filter

step 'killed at every netlink call of a change: before or after, and the next apply repairs'
apply >/dev/null
LAB_V4=("${v4[1]}") LAB_V6=("${v6[1]}")
write_config >"$LAB_DIR/after.yaml"
seen='' undone=0 before=$(served_by 8083) # a hash: the same each time
for call in sendto sendmsg; do
	lab_in node1 strace -f -qq -e trace=$call -o "$LAB_DIR/trace" \
		"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/after.yaml" >/dev/null
	number=$(grep -c "$call(" "$LAB_DIR/trace" || true)
	# Without --full some twenty, from a random start, and the last.
	step=$((${TEST_FULL:-0} ? 1 : number / 20 + 1))
	for n in $(seq $((1 + RANDOM % step)) $step "$number") "$number"; do
		apply >/dev/null
		ask 4 >/dev/null && ask 4 >/dev/null # one of these the change forgets
		status=0
		lab_in node1 strace -f -qq -e trace=$call -e "inject=$call:signal=KILL:when=$n" -o /dev/null \
			"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/after.yaml" >/dev/null 2>&1 || status=$?
		[[ $status != 0 ]] || break # how many calls there are depends on the connections
		equal "$call $n" "$status" 137
		seen+=" $(served_by 8083)"
		# What it is to forget stands among the records, those of 1000000000 and above.
		# (Not by grep -q: nft, which would go on to write, is slow on an emulated processor.)
		if grep -q '0x3b9aca.. \. ' <<<"$(nft_in list set inet "$TABLE" model)"; then
			undone=$((undone + 1))
			expect 3 lab_meshlb verify -f "$LAB_DIR/after.yaml"
			expect_text "$OUT" 'an earlier apply was interrupted: connections to backends that it has removed may live on'
		fi
		lab_meshlb apply -f "$LAB_DIR/after.yaml" >/dev/null
		expect 0 lab_meshlb verify -f "$LAB_DIR/after.yaml"
		equal "after repair ($call $n)" "$(served_by 8080)" r2
		equal 'connections to the removed backend' \
			"$(lab_in node1 cat /proc/net/nf_conntrack 2>/dev/null | grep -c "src=${v4[0]} " || true)" 0
	done
	apply >/dev/null
done
echo "of $number calls killed, seen:$seen; $undone before connections were forgotten"
((undone > 0)) || fail 'none was'
[[ $seen == *" $before"*" r2"* ]] || fail "not first as before ($before) and then as after (r2)"
for served in $seen; do
	[[ $served == "$before" || $served == r2 ]] || fail "neither before ($before) nor after (r2): $served"
done
expect 0 lab_meshlb down
equal 'tables left' "$(nft_in list tables)" ''
