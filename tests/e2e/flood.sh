#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# flood.sh - SYNs from random clients, as fast as one processor can make them, fill the table many
# times over: of 10,000 established connections none breaks, and new ones go on to succeed; at length
# also where a build with other layouts of maps takes the full table over.
# hooks: xdp tc
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# A table in which 10,000 have room, but where hundreds find their home full, and some their six
# other slots: more are tried than are needed, for those get none.
readonly NUMBER=10000 LIMIT=16384 TRIED=10500
readonly MAC=02:00:00:00:00:01 SINK=02:00:00:00:00:09
flows=1000000 # of the flood, at least: 20 times the table's slots
fresh=200     # new connections beside it
addresses=("$([[ $HOOK == tc ]] && echo $VIP6 || echo $VIP4)")
if [[ ${TEST_FULL:-0} == 1 ]]; then
	flows=10000000 fresh=2000 addresses=("$VIP4" "$VIP6")
fi

# The flood goes to a backend that never answers, so that no replica is its bottleneck.
make_flooded() {
	lab_ns attacker sink
	lab_link attacker eth0 node1 flood
	lab_link node1 sink sink eth0
	lab_in node1 ip link set flood address $MAC
	lab_in sink ip link set eth0 address $SINK
	lab_addr node1 sink 10.0.9.1/24 fd00:9::1/64
	printf 'neigh add %s lladdr '$SINK' dev sink nud permanent\n' 10.0.9.2 fd00:9::2 |
		lab_in node1 ip -batch -
	lab_in sink ip link set eth0 xdp object "$BUILD/tests/e2e/drop.bpf.o" section xdp
	lab_like_a_wire node1 flood
	LAB_IFACES+=(flood sink)
}

services() {
	lab_service vote '*:8080' 80
	LAB_V4=(10.0.9.2) LAB_V6=(fd00:9::2)
	lab_service flooded "$VIP4:9,[$VIP6]:9" 9
}

counted() { # JQ
	lab_meshlb -j stats | jq -c "$1"
}

connections() { # SERVICE
	counted ".services[] | select(.name == \"$1\") | .connections"
}

lab_topology direct 2
make_flooded
lab_nginx r1 r2
services | lab_config | sed "s/connections: 65536/connections: $LIMIT/" >"$CONFIG"
apply
mkfifo "$LAB_DIR/go"
exec {go}<>"$LAB_DIR/go" # both ends, so that nobody waits for the other

begin_clients() { # ADDRESS
	nsenter --net="/run/netns/$LAB-node2" -- "$E2E/many.py" "$1" 8080 $TRIED 3 2 <&"$go" \
		>"$LAB_DIR/counts" &
	clients=$!
	LAB_PIDS+=("$clients")
	lab_until 60 grep -q open "$LAB_DIR/counts"
	rounds=0
}

# Each of them exchanges data; those that have never opened are no concern.
ask_all() { # WHEN
	local -a failed
	echo >&"$go"
	((++rounds))
	lab_until 60 eval "(( \$(grep -c failed '$LAB_DIR/counts') == $rounds ))"
	mapfile -t failed < <(sed -n 's/^failed //p' "$LAB_DIR/counts")
	((TRIED - failed[0] >= NUMBER)) || fail "only $((TRIED - failed[0])) connections opened"
	echo "$1: $((TRIED - failed[-1])) connections are answered"
	equal "$1: connections that broke" $((failed[-1] - failed[0])) 0
}

flooded_enough() {
	(($(connections flooded) - flooded >= flows && $(connections vote) - vote >= fresh))
}

begin_flood() { # ADDRESS
	lab_spawn attacker "$BUILD/tests/e2e/flood" eth0 $MAC "$1" 9 >"$LAB_DIR/sent"
	flood=$LAB_PID
}

end_flood() {
	kill "$flood"
	wait "$flood"
}

under_flood() { # ADDRESS
	local flooded vote traffic
	flooded=$(connections flooded) vote=$(connections vote)
	begin_flood "$1"
	lab_spawn node2 "$E2E/traffic.py" "$1" 8080 4 >"$LAB_DIR/traffic"
	traffic=$LAB_PID
	lab_until 100 flooded_enough
	ask_all 'under the flood'
	kill "$traffic"
	wait "$traffic"
	end_flood
	sent=$(<"$LAB_DIR/sent")
	ask_all 'after the flood'
	wait "$clients"
	echo "$sent SYNs, of which $(($(connections flooded) - flooded)) opened a connection"
}

expect_fresh() { # most of the new connections succeed
	local answered failed
	tail -n 3 "$LAB_DIR/traffic"
	read -r _ answered _ failed < <(tail -n 1 "$LAB_DIR/traffic")
	((answered + failed >= fresh && answered * 10 > (answered + failed) * 9)) ||
		fail "new connections: $answered answered, $failed failed"
}

for address in "${addresses[@]}"; do
	step "$NUMBER connections to $address"
	begin_clients "$address"
	ask_all 'before the flood'
	before=$(counted .evicted)
	under_flood "$address"
	expect_fresh
	evicted=$(counted .evicted)
	echo "pushed out: $before -> $evicted"
	# What closes are new connections, as they end.
	jq -en --argjson a "$before" --argjson b "$evicted" --argjson least $((flows / 2)) \
		'$b["half-open"] - $a["half-open"] > $least and $b.established == 0 and $b.udp == 0 and
		$b.closing < $least / 100' >/dev/null ||
		fail "pushed out: $before -> $evicted"
done
expect 0 verify
[[ ${TEST_FULL:-0} == 1 ]] || exit 0

step 'a build with other layouts of maps takes over a table that the flood has filled'
variant altered include/lb_abi.h "$(<"$E2E/altered.sed")"
begin_clients $VIP4
ask_all 'before the flood'
flooded=$(connections flooded)
begin_flood $VIP4
filled() { (($(connections flooded) - flooded >= 1000000)); }
lab_until 100 filled
MESHLB=$LAB_DIR/altered/build/meshlb
expect 0 apply
echo "$ERR"
expect_text "$ERR" 'taken over from layout [0-9]+ to 254, with [0-9]{5,} connections'
ask_all 'after it was taken over'
expect 0 verify
end_flood
ask_all 'after the flood'
wait "$clients"
