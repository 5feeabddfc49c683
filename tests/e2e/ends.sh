#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ends.sh - what becomes of connections whose backend is removed (on-remove), and of packets in the
# middle of connections that nobody knows (unknown): as clients see it.
# hooks: xdp xdp-generic tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
# A network that is routed to node1, with addresses that are not its own.
readonly AWAY4=198.51.100.9 AWAY6=2001:db8:51::9
lab_in node2 ip route add $AWAY4/32 via $VIP4
lab_in node2 ip route add $AWAY6/128 via $VIP6
lab_in node1 ip route add 198.51.100.0/24 via $CLIENT4
lab_in node1 ip route add 2001:db8:51::/48 via $CLIENT6

config() { # LISTEN REPLICAS KEY...: a service with replica 1, 2 or both
	local key
	echo "  - name: vote"
	echo "    listen: [$1]"
	for key in "${@:3}"; do echo "    $key"; done
	echo '    backends:'
	for key in $2; do
		echo "      - \"${LAB_V4[key - 1]}:80\""
		echo "      - \"[${LAB_V6[key - 1]}]:80\""
	done
}
change() {
	config "$@" | lab_config >"$CONFIG"
	expect 0 apply
}
counts() { # NAME COMMAND...: it must count the reason; prints what it prints
	local before after
	before=$(reason "$1")
	"${@:2}"
	after=$(reason "$1")
	((after > before)) || fail "$1 was not counted: ${*:2}"
}

step 'on-remove: reset: the next request is answered by a reset, at once'
for family in 4 6; do
	change '"*:8080"' 1
	hold_open "reset$family" $family >/dev/null
	change '"*:8080"' 2
	said=$(counts backend-gone-reset ask_held "reset$family")
	expect_text "$said" 'Connection reset by peer'
	removed=${LAB_V4[0]}
	[[ $family == 4 ]] || removed="[${LAB_V6[0]}]"
	expect_text "$(lab_meshlb conn ls --backend "$removed:80")" ' closed '
	equal 'a new one' "$(ask $family)" "$(lab_id r2)"
done

step 'in the middle of a download, and what nobody knows gets no answer: it is reset'
change '"*:8080"' 1 'unknown: drop'
truncate -s 1T "$LAB_DIR/nginx-r1/html/endless"
# What the client acknowledges is on its way for a while: a reset that answers it comes too late.
lab_in node2 tc qdisc add dev eth0 root tbf rate 256kbit burst 2kb latency 100ms
lab_spawn node2 curl -sS -o /dev/null "$VIP4:8080/endless" 2>"$LAB_DIR/endless4"
lab_spawn node2 curl -sS -g -o /dev/null "[$VIP6]:8080/endless" 2>"$LAB_DIR/endless6"
flows() { (($(lab_meshlb -j conn ls --backend "$1:80" | jq '[.connections[] | select(.state == "established")] | length') == 1)); }
for one in "${LAB_V4[0]}" "[${LAB_V6[0]}]"; do lab_until 5 flows "$one"; done
sleep 0.5
change '"*:8080"' 2 'unknown: drop'
for one in 4 6; do
	lab_until 5 grep -q 'reset by peer' "$LAB_DIR/endless$one" || fail "IPv$one: it waits: $(<"$LAB_DIR/endless$one")"
done
lab_in node2 tc qdisc del dev eth0 root

step 'on-remove: drop: silence'
change '"*:8080"' 1 'on-remove: drop'
HOLD_TIMEOUT=1 hold_open dropped 4 >/dev/null
change '"*:8080"' 2 'on-remove: drop'
said=$(counts backend-gone ask_held dropped)
expect_text "$said" 'timed out'

step 'on-remove: rehash: another backend gets it, which resets what it does not know'
change '"*:8080"' 1 'on-remove: rehash'
hold_open rehashed 4 >/dev/null
change '"*:8080"' 2 'on-remove: rehash'
before=$(reason backend-gone-reset)
expect_text "$(ask_held rehashed)" 'Connection reset by peer'
equal 'resets of our own' "$(reason backend-gone-reset)" "$before"
expect_text "$(lab_meshlb conn ls --backend "${LAB_V4[1]}:80")" 'closed|reset'

step 'unknown: reset: by ourselves where the address is not the host'"'"'s'
for family in 4 6; do
	away=AWAY$family
	address=${!away}
	[[ $family == 4 ]] || address="[$address]"
	change "\"$address:8080\"" 1
	hold_open "unknown$family" $family "${!away}" >/dev/null
	lab_meshlb conn flush
	said=$(counts no-connection-reset ask_held "unknown$family")
	expect_text "$said" 'Connection reset by peer'
done

step 'unknown: reset: by the host where the address is its own'
change '"*:8080"' 1
hold_open own 4 >/dev/null
lab_meshlb conn flush
said=$(counts no-connection ask_held own)
expect_text "$said" 'Connection reset by peer'

step 'unknown: drop: silence'
change '"*:8080"' 1 'unknown: drop'
HOLD_TIMEOUT=1 hold_open lost 4 >/dev/null
lab_meshlb conn flush
said=$(counts no-connection-drop ask_held lost)
expect_text "$said" 'timed out'

step 'unknown: hash: it goes on'
change '"*:8080"' 1 'unknown: hash'
hold_open found 4 >/dev/null
lab_meshlb conn flush
equal 'over the same connection' "$(ask_held found)" "$(lab_id r1)"
expect 0 lab_meshlb service show vote
expect_text "$OUT" 'unknown hash, on-remove reset'
equal 'export | apply' "$(lab_meshlb export | lab_meshlb apply -f -)" 'no difference'
expect 0 verify

step 'who only guesses numbers ends nothing'
change '"*:8080"' '1 2' 'timeouts: { closed: 1s, closing: 1s }'
lab_meshlb conn flush
held=$(hold_open guessed 4)
cport=$(lab_meshlb -j conn ls | jq -r '.connections[0].client' | sed 's/.*://')
for _ in 1 2 3; do
	lab_in node2 "$E2E/forge.py" guess $CLIENT4 "$cport" $VIP4 8080
	expect_text "$(lab_meshlb conn ls)" ' reset ' # or so it seems
	sleep 2
	equal 'who answers' "$(ask_held guessed)" "$held"
	expect_text "$(lab_meshlb conn ls)" ' established '
	equal 'connections' "$(lab_meshlb conn count)" 1
done
replica=r1
[[ $(lab_id r1) == "$held" ]] || replica=r2
lab_in node2 "$E2E/forge.py" guess $CLIENT4 "$cport" $VIP4 8080
at=$(lab_meshlb -j conn ls | jq -r '.connections[0] | select(.state == "reset") | .backend')
expect 0 lab_meshlb backend drain vote "$at" --wait --timeout 5s
equal 'connections that nobody waited for' "$(lab_meshlb conn count)" 0
# shellcheck disable=SC2016
asked=$(lab_in $replica nstat -asz TcpExtTCPSYNChallenge | awk '/SYNChallenge/ { print $2 }')
((asked > 0)) || fail "the lab: no forged SYN came to the replica"
