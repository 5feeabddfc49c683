#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# nft.sh - what is nft's own: schedulers by rings, damage to the table, removed backends, firewalls.
# (Changes of the datapath and kills: change.sh.)
# hooks: nft
# limit: 400
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TABLE=meshlb_$LAB

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
expect 0 lab_meshlb service ls
expect_text "$ERR" "warning: instance \"$LAB\": set \"model\" is empty in table \"inet $TABLE\": .*.meshlb apply. makes it anew"
expect 1 lab_meshlb export # or `export | apply` would take all away
expect_text "$ERR" 'what it serves nobody knows: nothing is exported'
expect 1 apply --confirm-timeout 60s
expect_text "$ERR" 'what to go back to nobody knows'
damage 'no model' 'set "model" is empty' "flush set inet $TABLE model"
damage 'no sign whose it is' 'set "model": element \{ 0 . 0 \} is missing' "delete element inet $TABLE model { 0 . 0 }"
nft_in insert rule inet "$TABLE" forward drop
sed 's/scheduler: random/scheduler: rr/' "$CONFIG" >"$LAB_DIR/other.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/other.yaml"
expect_text "$OUT" 'repaired: chain "forward": rule 1'
expect 0 lab_meshlb verify -f "$LAB_DIR/other.yaml"
expect 0 apply --confirm-timeout 60s
expect 1 lab_in node2 "$MESHLB" --instance "$LAB" confirm # there is none
expect 0 lab_meshlb confirm
expect_text "$ERR" ': confirmed'
damage 'no chain' 'chain "forward" is missing' "flush chain inet $TABLE forward; delete chain inet $TABLE forward"
expect_alternation 4 4
equal 'the connection that stood' "$(ask_held h)" "$held"

step 'a hash on any address beside addresses whose rings have 60 sizes'
cp "$CONFIG" "$LAB_DIR/few.yaml"
{
	scheduler_services
	lab_service hash '*:8090' 80 sh
	for i in {1..60}; do
		lab_service "size$i" "$VIP4:$((9000 + i))" 80 wrr | sed "s/10.0.1.2:80\"/&, weight: $((i + 1))/"
	done
} | lab_config | sed 's/services: 16/services: 256/; s/backends: 256/backends: 4096/' >"$CONFIG"
expect 0 apply
expect 0 verify
for port in 8090 9001 9060; do
	[[ $(ask 4 "node1:$port") ]] || fail "nobody answers at $port"
done
expect 0 lab_meshlb backend weight size1 10.0.1.2:80 99 # a size more
expect 0 verify
expect_text "$(nft_in list chain inet "$TABLE" exact)" 'comment "tcp4_inc100"' # or the hash could take it
expect 0 lab_meshlb backend weight size1 10.0.1.2:80 65535 # of 1024 slots the other one gets one
equal share "$(lab_meshlb -j service show size1 | jq -c '[.backends[].share | 1024 * .]')" '[1023,1,512,512]'
expect_text "$(lab_meshlb service show size1)" '^10.0.2.2:80 .* 0.1 %'
damage 'no exact addresses' 'chain "exact": rule "tcp4_inc2" is missing' flush chain inet "$TABLE" exact
handle=$(nft_in -a list chain inet "$TABLE" prerouting | sed -n 's/.*comment "exact" # handle //p')
damage 'no way to them' 'chain "prerouting": rule [0-9]+ is "tcp4_any_sh2", should be exact' \
	delete rule inet "$TABLE" prerouting handle "$handle"
cp "$LAB_DIR/few.yaml" "$CONFIG"
expect 0 apply --reset-overrides
expect 0 verify
! nft_in list chain inet "$TABLE" exact >/dev/null 2>&1 || fail 'a chain is left that nobody needs'

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
	sed -i "s/192.0.2.1:8099/$VIP4:8081/; s/198.51.100.1:8082/$VIP4:8080/" "$LAB_DIR/other.yaml"
	expect 0 other apply -f "$LAB_DIR/other.yaml"
	equal 'what its apply warns of' "$(too)" \
		"warning: service \"theirs\": listen \"$VIP4:8080/tcp\" is instance \"$LAB\"'s, too, on interface \"eth0\" (datapath nft)"
	expect_text "$ERR" 'takes it; and others' # each at its address, and one at any
	expect 0 verify
	equal 'what verify warns of' "$(too)" \
		"warning: service \"turns\": listen \"$VIP4:8081/tcp\" is instance \"$LAB-b.c\"'s, too, on interface \"eth0\" (datapath $datapath)"
	expect_text "$ERR" 'takes it; and others'
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
sed 's/^datapath: .*/datapath: ebpf/' "$LAB_DIR/one.yaml" >"$LAB_DIR/to-ebpf.yaml"
refused() { # COMMAND...: done in part; of our libraries conntrack's alone receives by this call
	expect 4 lab_in node1 strace -qq -o /dev/null -e inject=recvfrom:error=EPERM "$MESHLB" --instance "$LAB" "$@"
	expect_text "$ERR" 'warning: left undone: reading conntrack: Operation not permitted'
}
expect_undone() {
	(($(to_gone) > 0)) || fail 'the lab: nothing was left'
	expect 3 lab_meshlb verify -f "$1"
	expect_text "$OUT" 'connections to backends that it has removed may live on'
}
to_gone() { grep -c "src=${v4[1 - stays]} " <(lab_in node1 cat /proc/net/nf_conntrack) || true; }
ask 4 >/dev/null && ask 4 >/dev/null # one of these is to be forgotten
refused apply -f "$LAB_DIR/one.yaml"
expect_text "$OUT" "^ +- ${v4[1 - stays]}"
expect_undone "$LAB_DIR/one.yaml"

step 'a backend that is back before its connections were forgotten: those that it has got since stay'
refused apply -f "$CONFIG"
held1=$(hold_open back1 4) held2=$(hold_open back2 4)
[[ $held1 != "$held2" ]] || fail 'the lab: both are held by one'
expect_undone "$CONFIG"
expect 0 apply
expect_text "$OUT" 'no difference'
equal 'the connections' "$(ask_held back1) $(ask_held back2)" "$held1 $held2"
expect 0 verify

step 'a repair makes the table anew: what is still to be forgotten is not'
refused apply -f "$LAB_DIR/one.yaml"
nft_in add rule inet "$TABLE" forward counter
refused apply -f "$LAB_DIR/one.yaml"
expect_text "$OUT" 'repaired: chain "forward"'
expect_undone "$LAB_DIR/one.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"
equal 'connections to the removed backend' "$(to_gone)" 0
expect 0 lab_meshlb verify -f "$LAB_DIR/one.yaml"

step 'what is still to be forgotten is so when the instance goes, to another datapath or for good'
for way in "apply -f $LAB_DIR/to-ebpf.yaml" down; do
	expect 0 apply
	ask 4 >/dev/null && ask 4 >/dev/null
	refused apply -f "$LAB_DIR/one.yaml"
	(($(to_gone) > 0)) || fail 'the lab: nothing was left'
	# shellcheck disable=SC2086
	expect 0 lab_meshlb $way
	equal "connections to the removed backend after $way" "$(to_gone)" 0
done
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"

step 'a record of removed backends that nobody can read goes with the next apply'
nft_in add element inet "$TABLE" model '{ 1000000000 . 0 comment "junk" }'
expect 3 lab_meshlb verify -f "$LAB_DIR/one.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/one.yaml"
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
expect 0 lab_meshlb conn flush
# The kernel leaves out what is not ours, of which there may be a lot: an end is all that it tells.
lab_in node1 strace -qq -e trace=recvfrom -o "$LAB_DIR/trace" "$MESHLB" --instance "$LAB" conn count
equal 'bytes about others' "$(awk '{ sum += $NF } END { print sum }' "$LAB_DIR/trace")" 20
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

step 'verify of a config that differs changes nothing, not even for a trial'
generation() { lab_meshlb -j status | jq .generation; }
expect 0 apply
sed 's/8080/8099/' "$CONFIG" >"$LAB_DIR/other.yaml"
before=$(generation)
expect 3 lab_meshlb verify -f "$LAB_DIR/other.yaml"
expect_text "$OUT" '\+ listen \*:8099'
equal generation "$(generation)" "$before"

step "a table of somebody else's by our name: refused, and left alone"
sed 's/^datapath: .*/datapath: ebpf/' "$CONFIG" >"$LAB_DIR/ebpf.yaml"
expect 0 lab_meshlb down
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
for model in 'set % model { type inet_service; elements = { 7 }; }' 'map % model { type mark . mark : verdict; }'; do
	nft_in "add table inet $TABLE; add ${model/\%/inet $TABLE}
		add set inet $TABLE interfaces { type ifname; }
		add chain inet $TABLE prerouting; add chain inet $TABLE forward"
	for command in "apply -f $CONFIG" "check -f $CONFIG" down status; do
		# shellcheck disable=SC2086
		expect 1 lab_meshlb $command
		expect_text "$ERR" "there is a table \"inet $TABLE\" that meshlb has not made"
	done
	nft_in list chain inet "$TABLE" forward >/dev/null || fail 'it is gone'
	nft_in delete table inet "$TABLE"
done

step "a chain of somebody else's by our name: refused, and left alone"
for flavour in iptables-nft iptables-legacy; do
	lab_in node1 $flavour -N "MESHLB-$LAB"
	lab_in node1 $flavour -A "MESHLB-$LAB" -p tcp --dport 22 -j DROP
	lab_in node1 $flavour -P FORWARD DROP
	lab_in node1 $flavour -S >"$LAB_DIR/before"
	expect 1 apply
	expect_text "$ERR" "$flavour: there is a chain \"MESHLB-$LAB\" that meshlb has not made"
	expect 0 lab_meshlb down
	expect_text "$ERR" 'there is none'
	expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
	expect 0 lab_meshlb down # of what is ours
	equal "rules of $flavour" "$(lab_in node1 $flavour -S)" "$(<"$LAB_DIR/before")"
	equal 'tables of ours' "$(nft_in list tables | grep -c meshlb || true)" 0
	lab_in node1 $flavour -F "MESHLB-$LAB"
	expect 0 apply # an empty one is nobody's
	lab_in node1 $flavour -A "MESHLB-$LAB" -p tcp --dport 22 -j DROP
	expect 0 apply # of an instance that stands it is a damage
	expect_text "$OUT" "repaired: $flavour: chain MESHLB-$LAB is not as it should be"
	expect 0 lab_meshlb down
	equal "chains of ours" "$(lab_in node1 $flavour -S | grep -c MESHLB || true)" 0
	lab_in node1 $flavour -P FORWARD ACCEPT
done
nft_in delete table ip filter

step 'a chain that a killed apply has left in iptables goes with down'
lab_in node1 iptables-nft -P FORWARD DROP
lab_in node1 iptables-nft -N "MESHLB-$LAB"
lab_in node1 iptables-nft -A FORWARD -j "MESHLB-$LAB"
expect 0 lab_meshlb down
equal 'rules of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
nft_in delete table ip filter
equal 'tables left' "$(nft_in list tables)" ''
