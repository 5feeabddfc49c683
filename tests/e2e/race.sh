#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# race.sh - many applies at once, under traffic, some of them killed: each that ends well has been
# whole, and what is left is what one of them wanted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=8
[[ ${TEST_FULL:-0} != 1 ]] || ROUNDS=40
lab_topology direct 2
lab_nginx r1 r2
for i in 1 2 3 4; do
	{
		lab_service vote '*:8080' 80
		lab_service "only$i" "*:809$i" 80 maglev
	} | lab_config >"$LAB_DIR/$i.yaml"
done
lab_meshlb apply -f "$LAB_DIR/1.yaml"
begin_traffic 8080

for ((round = 0; round < ROUNDS; round++)); do
	pids=()
	for i in 1 2 3 4; do
		lab_meshlb apply -f "$LAB_DIR/$i.yaml" >"$LAB_DIR/apply-$i" 2>&1 &
		pids+=($!)
	done
	# One that hangs while it holds the lock, or waits for it.
	timeout -s KILL "0.0$((round % 10))" nsenter --net="/run/netns/$LAB-node1" -- \
		"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/1.yaml" >/dev/null 2>&1 || true
	for i in 1 2 3 4; do
		wait "${pids[i - 1]}" || fail "apply $i of round $round: $(<"$LAB_DIR/apply-$i")"
	done
	expect 0 lab_meshlb verify
	equal 'services after a round' "$(lab_meshlb export | grep -cE 'name: "?only')" 1
done
end_traffic
echo "$ROUNDS rounds of four applies at once"
