#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# many.sh - 10,000 concurrent connections: all are answered, and shared equally.
# hooks: xdp xdp-generic tc nft
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly NUMBER=10000
lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
apply

for address in $VIP4 $VIP6; do
	step "$NUMBER connections to $address"
	mkfifo "$LAB_DIR/go"
	lab_in node2 "$E2E/many.py" "$address" 8080 $NUMBER <>"$LAB_DIR/go" >"$LAB_DIR/counts" &
	client=$!
	lab_until 60 grep -q open "$LAB_DIR/counts"
	echo "conn count: $(lab_meshlb conn count)"
	echo >"$LAB_DIR/go"
	wait $client
	cat "$LAB_DIR/counts"
	rm "$LAB_DIR/go"
	equal failed "$(sed -n 's/^failed //p' "$LAB_DIR/counts")" 0
	for ns in r1 r2; do
		n=$(sed -n "s/^$(lab_id $ns) //p" "$LAB_DIR/counts")
		((n >= NUMBER * 49 / 100 && n <= NUMBER * 51 / 100)) ||
			fail "$ns got ${n:-none} of $NUMBER connections"
	done
done
