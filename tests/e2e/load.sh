#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# load.sh - schedulers lc and wlc, and max-connections, as clients see them; and that what meshlb
# counts of a backend is what is open.
# hooks: xdp
# full: tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
# An address that is not node1's own.
readonly AWAY4=198.51.100.9
lab_in node2 ip route add $AWAY4/32 via $VIP4
lab_in node1 ip route add 198.51.100.0/24 via $CLIENT4

change() { # SCHEDULER WEIGHT1 WEIGHT2 MAX
	{
		echo '  - name: vote'
		echo "    listen: ['*:8080', '*:5300/udp', '$AWAY4:5300/udp']"
		echo "    scheduler: $1"
		echo "    max-connections: $4"
		echo '    backends:'
		echo "      - { address: '${LAB_V4[0]}:80', weight: $2 }"
		echo "      - { address: '${LAB_V4[1]}:80', weight: $3 }"
		echo "      - { address: '[${LAB_V6[0]}]:80', weight: $2 }"
		echo "      - { address: '[${LAB_V6[1]}]:80', weight: $3 }"
	} | lab_config >"$CONFIG"
	apply
}
active() { # the active connections of the IPv4 backends, as `service show` has them
	lab_meshlb -j service show vote |
		jq -r '[.backends[] | select(.address | startswith("[") | not) | .active] | join(" ")'
}
loads() { # the same as the programs count them
	bpftool -j map dump pinned "$PINS/lb_loads" |
		jq '[.[].formatted.value.connections] | add'
}
established() { # how many
	lab_meshlb conn ls --service vote | grep -c ' established ' || true
}
open_idle() { # NUMBER: connections to the service, open until end_idle
	local before
	before=$(established)
	# shellcheck disable=SC2016
	nsenter --net="/run/netns/$LAB-node2" -- python3 -c '
import socket, sys, time
open = [socket.create_connection((sys.argv[1], 8080), 5) for i in range(int(sys.argv[2]))]
time.sleep(600)' "$VIP4" "$1" &
	IDLE=$!
	LAB_PIDS+=("$IDLE")
	lab_until 5 eval "(( \$(established) == $before + $1 ))" ||
		fail "not all of $1 connections were opened"
}
end_idle() {
	kill "$IDLE"
	wait "$IDLE" || true
}

step 'lc: who has fewer connections gets the next ones'
change lc 1 1 0
open_idle 20
equal 'active connections' "$(active)" '10 10'
lab_meshlb backend drain vote "${LAB_V4[0]}:80"
for i in 1 2 3 4 5 6; do hold_open "drained$i" 4 >/dev/null; done
equal 'active connections' "$(active)" '10 16'
lab_meshlb backend undrain vote "${LAB_V4[0]}:80"
for i in 1 2 3 4; do equal 'who answers' "$(hold_open "back$i" 4)" "$(lab_id r1)"; done
equal 'active connections' "$(active)" '14 16'
equal 'all that the programs count' "$(loads)" "$(($(lab_meshlb conn count --service vote)))"
end_idle
is_active() { [[ $(active) == "$1" ]]; }
lab_until 5 is_active '4 6' || fail "ended connections count: $(active)"

step 'requests one after another take turns'
expect_alternation 6 8

step 'wlc: by weight'
change wlc 1 3 0
lab_meshlb conn flush
open_idle 40
equal 'active connections' "$(active)" '10 30'
end_idle
lab_meshlb conn flush
equal 'all that the programs count after a flush' "$(loads)" 0

step 'max-connections: the overflow goes to the next one, then it is refused'
for scheduler in lc maglev rr; do
	lab_meshlb conn flush
	change $scheduler 1 1 5
	open_idle 10
	equal "active connections of $scheduler" "$(active)" '5 5'
	before=$(reason backends-full-reset)
	said=$(lab_as_user node2 curl -sS -4 -m $MOMENT node1:8080 2>&1 || true)
	expect_text "$said" 'Failed to connect .* after [0-9]{1,4} ms'
	(($(reason backends-full-reset) == before + 1)) || fail "the refusal was not counted once"
	equal 'IPv6 is not full' "$(ask 6 | wc -l)" 1
	expect_text "$(lab_meshlb service show vote)" ' 5/5 '
	end_idle
	lab_until 5 ask 4 >/dev/null || fail 'it is not let in again'
done

step 'a max that is raised lets in at once, by an apply under load'
lab_meshlb conn flush
change lc 1 1 2
open_idle 4
expect_text "$(lab_as_user node2 curl -sS -4 -m $MOMENT node1:8080 2>&1 || true)" 'Failed to connect .* after [0-9]{1,4} ms'
change lc 1 1 3
equal 'a request' "$(ask 4 | wc -l)" 1
expect 0 verify
expect_text "$(lab_meshlb export)" 'max-connections: 3'

step 'UDP: an ICMP error by the host itself, or silence for an address that is not its own'
change lc 1 1 1
udp() { # ADDRESS: four datagrams, each from a port of its own; prints what the last one came to
	lab_in node2 python3 -c '
import socket, sys
for i in range(4):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect((sys.argv[1], 5300))
    try:
        s.send(b"x")
        said = s.recv(1)
    except Exception as e:
        said = type(e).__name__
print(said)' "$1"
}
lab_meshlb conn flush
open_idle 2
equal 'UDP to its own address' "$(udp $VIP4)" ConnectionRefusedError
(($(reason backends-full-local) > 0)) || fail 'UDP was not counted'
expect_text "$(udp $AWAY4)" '^(timeout|TimeoutError)$'
(($(reason backends-full) > 0)) || fail 'UDP was not counted'
end_idle

step 'numbers that somebody has changed are put right by conn gc'
lab_meshlb conn flush
change lc 1 1 0
open_idle 6
key=$(bpftool -j map dump pinned "$PINS/lb_loads" |
	jq -r '[.[].formatted | select(.value.connections > 0)][0].key')
# shellcheck disable=SC2046
bpftool map update pinned "$PINS/lb_loads" key hex $(printf '%02x 00 00 00' "$key") \
	value hex 63 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
lab_meshlb conn gc
equal 'all that the programs count after a gc' "$(loads)" 6

step 'at the default limits: what has expired counts no more, without a packet of anybody'
expect 0 lab_meshlb down
change lc 1 1 0
sed -i '/^limits:/d' "$CONFIG"
echo 'timeouts: { udp-new: 10s }' >>"$CONFIG"
expect 0 lab_meshlb down
apply
used() { lab_meshlb -j status | jq -r '.usage.connections | "\(.used) of \(.limit)"'; }
udp $VIP4 >/dev/null
(($(loads) > 0)) || fail "nothing is counted: $(used) used, active $(active)"
is_idle() { [[ "$(used), $(active), $(loads), $(lab_meshlb conn count)" == '0 of 1000000, 0 0, 0, 0' ]]; }
lab_until 60 is_idle || fail "they count for a minute: $(used) used, active $(active), counted $(loads)"
