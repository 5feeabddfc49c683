#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# persist.sh - the kernel holds the state: the program has ended, forwarding and connections go on;
# applying again changes nothing, applying a change touches just what changed.
# hooks: xdp tc
# full: xdp-generic
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
{
	lab_service vote '*:8080' 80
	lab_service other '*:8090' 80 maglev
} | lab_config >"$CONFIG"
apply

step 'no process is left in the node'
equal 'processes in node1' "$(ip netns pids "$LAB-node1")" ''
expect_alternation 4 4
expect_alternation 6 4
held4=$(hold_open h4 4)
held6=$(hold_open h6 6)

# What must not move: ids of maps and programs, the services' versions, rings and members.
snapshot() {
	local map
	for map in "$PINS"/lb_*; do
		[[ $map == */lb_conn* ]] || echo "$map $(bpftool -j map show pinned "$map" | jq .id)"
	done
	for map in lb_config lb_ports lb_services lb_listens lb_rings lb_members lb_ifaces; do
		echo "$map $(bpftool -j map dump pinned "$PINS/$map" |
			jq -c '.[].formatted | del(.value.next)' | sha256sum)"
	done
	lab_meshlb -j status | jq -c '[.. | .prog_id? // empty]'
}

step 'apply again: nothing to do, nothing moves'
before=$(snapshot)
expect 0 apply
expect_text "$OUT" '[Nn]o (difference|change)|nothing'
equal 'the state in the kernel' "$(snapshot)" "$before"
expect 0 apply --dry-run

step 'the order of the lines does not matter'
LAB_V4=("${LAB_V4[1]}" "${LAB_V4[0]}")
{
	lab_service other '*:8090' 80 maglev
	lab_service vote '*:8080' 80
} | lab_config >"$LAB_DIR/turned.yaml"
expect 0 lab_meshlb apply --dry-run -f "$LAB_DIR/turned.yaml"

step 'a service more, one with another scheduler: connections live on, the rest stays'
{
	lab_service vote '*:8080' 80
	lab_service other '*:8090' 80 random
	lab_service third '*:8100' 80
} | lab_config >"$CONFIG"
expect 3 apply --dry-run
expect_text "$OUT" third
expect_text "$OUT" other
! grep -q vote <<<"$OUT" || fail "vote is in the difference: $OUT"
vote_before=$(bpftool -j map dump pinned "$PINS/lb_services" |
	jq -c '.[].formatted.value | select(.name == "vote") | .version')
expect 0 apply
equal 'the service that did not change' "$(bpftool -j map dump pinned "$PINS/lb_services" |
	jq -c '.[].formatted.value | select(.name == "vote") | .version')" "$vote_before"
equal 'the held IPv4 connection' "$(ask_held h4)" "$held4"
equal 'the held IPv6 connection' "$(ask_held h6)" "$held6"
expect_alternation 4 4 node1:8100
expect_alternation 6 4 node1:8080
expect 0 verify

step 'rings of positions are shared by services with other backends, too'
slots() { lab_meshlb -j status | jq .usage.ring_slots.used; }
before=$(slots)
{
	lab_service vote '*:8080' 80
	lab_service other '*:8090' 80 random
	lab_service third '*:8100' 80
	lab_service fourth '*:8110' 81
} | lab_config >"$CONFIG"
expect 0 apply
equal 'ring slots with a service more' "$(slots)" "$before"
expect_alternation 4 4 node1:8110
expect 0 verify
