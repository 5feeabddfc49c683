#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# iperf3.sh - TCP and UDP streams in both directions; control and data reach the same replica,
# since the scheduler is the client's hash.
# hooks: xdp tc nft
# full: xdp-generic
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
for ns in r1 r2; do
	lab_spawn "$ns" iperf3 -s -p 5201 >"$LAB_DIR/iperf3-$ns.log"
	lab_until 5 lab_listening "$ns" 5201
done
lab_service iperf '*:5201/tcp,*:5201/udp' 5201 sh | lab_config >"$CONFIG"
apply

# What an emulated processor can take beside others. 1200 bytes a datagram, for 2 seconds.
rate=20M least=3000
[[ ${TEST_GUEST:-0} != 1 ]] || rate=2M least=300

stream() { # 4|6 NAME [OPTION...]; the summary in $OUT
	local address=$VIP4
	[[ $1 == 4 ]] || address=$VIP6
	expect 0 lab_in node2 iperf3 -J -c "$address" -p 5201 -t 2 "${@:3}"
	echo "IPv$1 $2: $(jq -c '.end.sum_received // .end.sum |
		{bytes, Mbit: (.bits_per_second / 1e6 | floor), lost: .lost_percent}' <<<"$OUT")"
}

for family in 4 6; do
	for way in '' -R; do
		stream $family "TCP $way" $way
		received=$(jq .end.sum_received.bytes <<<"$OUT")
		sent=$(jq .end.sum_sent.bytes <<<"$OUT")
		((received > 1000000)) || fail "TCP $way: only $received bytes arrived"
		((received * 10 >= sent * 9)) || fail "TCP $way: $received of $sent bytes arrived"
		stream $family "UDP $way" $way -u -b $rate -l 1200
		jq -e --argjson least $least '.end.sum | .packets > $least and .lost_percent < 2' \
			<<<"$OUT" >/dev/null || fail "UDP $way: lost $(jq .end.sum.lost_percent <<<"$OUT") %"
	done
done
expect 0 verify
