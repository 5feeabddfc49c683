#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# bridge.sh - replicas behind a bridge of the node, as containers are.
# hooks: auto xdp xdp-generic tc nft
# guest: full
# guest-full: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in bridge

if [[ $HOOK == auto ]]; then
	step 'br0 refuses XDP: auto is tc there, and that is said, once'
	lab_meshlb down >/dev/null
	expect 0 apply
	expect_text "$ERR" 'interface "br0": its driver has no native XDP: its hook, auto, is tc'
	expect 0 apply
	equal 'what the second apply says' "$ERR" ''
	expect_alternation 4 4
	expect 0 lab_meshlb probe
	expect_text "$OUT" '^interface +br0: native XDP +(no +its driver has none: hook auto is tc|\? )'
fi

if [[ $HOOK == nft || $HOOK == ipvs ]]; then
	step 'a port of the bridge is none of its interfaces'
	port=$(lab_in node1 ip -o link show master br0 | sed -n '1s/^[0-9]*: \([^@:]*\).*/\1/p')
	sed "0,/name: br0/s//name: $port/" "$CONFIG" >"$LAB_DIR/port.yaml"
	expect 1 lab_meshlb apply -f "$LAB_DIR/port.yaml"
	expect_text "$ERR" "interface: \"$port\": datapath $HOOK sees its packets come in by bridge \"br0\": name that"
	expect 0 verify
	expect_alternation 4 2
fi
