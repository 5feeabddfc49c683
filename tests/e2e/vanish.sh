#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vanish.sh - interfaces that go, come again or change their name while they are configured: verify
# names them, apply repairs, and what is about something else goes on.
# hooks: xdp tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
apply
expect_alternation 4 4

readonly R2=(10.0.2.2:80 "[fd00:2::2]:80")
links_of() { find "$PINS" -path "*/links/*-$1" -printf '%f\n' | sort | tr '\n' ' '; }

plug_in_r2() {
	lab_link node1 r2 r2 eth0
	lab_addr node1 r2 10.0.2.1/24 fd00:2::1/64
	lab_addr r2 eth0 10.0.2.2/24 fd00:2::2/64
	lab_default r2 10.0.2.1 fd00:2::1
	[[ $HOOK != xdp* ]] || lab_like_a_wire r2 eth0
}

# Linux 6.1 renames only what is down; IPv6 addresses go then.
rename_r2() {
	lab_in node1 ip link set r2 down
	lab_in node1 ip link set r2 name other
	lab_in node1 ip link set other up
	lab_addr node1 other fd00:2::1/64
}

step 'gone: named by verify and status, refused in a config'
pins=$(links_of r2)
lab_in node1 ip link del r2
expect 3 verify
expect_text "$OUT" 'interface "r2": the interface is gone'
expect 0 lab_meshlb status
expect_text "$OUT" '^r2: the interface is gone'
expect 1 apply
expect_text "$ERR" "$CONFIG:[0-9]+: interface: \"r2\": no such interface; there are: .*eth0"

step 'weights are set all the same, and those who can be reached are served'
for backend in "${R2[@]}"; do
	expect 0 lab_meshlb backend drain vote "$backend"
done
for family in 4 6 4 6; do
	equal "IPv$family: who answers" "$(ask $family)" "$(lab_id r1)"
done
expect 3 lab_meshlb verify
expect_text "$OUT" 'interface "r2": the interface is gone'

step 'made anew under the same name'
plug_in_r2
expect 3 verify
expect_text "$OUT" 'interface "r2": the interface was made anew: its index is [0-9]+, was [0-9]+'
expect 3 apply --dry-run
expect 0 apply
expect_text "$OUT" '^repaired: interface "r2": the interface was made anew'
expect 0 verify
equal 'pins of r2' "$(links_of r2)" "$pins"
equal 'records of r2' "$(bpftool -j map dump pinned "$PINS/lb_ifaces" |
	jq '[.[].formatted.value | select(.name == "r2")] | length')" 1
expect 0 apply --reset-overrides
expect_alternation 4 4
expect_alternation 6 4

step 'another name'
rename_r2
expect 3 verify
expect_text "$OUT" 'interface "r2": the interface is called "other" now'
LAB_IFACES[2]=other
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
expect 0 apply
expect_text "$OUT" '^\+ interface other'
expect 0 verify
equal 'pins of the old name' "$(links_of r2)" ''
expect_alternation 4 4
expect_alternation 6 4

step 'gone, and out of the config'
cp "$CONFIG" "$LAB_DIR/both.yaml"
LAB_IFACES=(eth0 r1) LAB_V4=("${LAB_V4[0]}") LAB_V6=("${LAB_V6[0]}")
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
lab_in node1 ip link del other
expect 0 apply
expect_text "$OUT" '^- interface other'
expect 0 verify
equal 'pins of what is gone' "$(links_of other)" ''
equal 'who answers' "$(ask 4) $(ask 6)" "$(lab_id r1) $(lab_id r1)"

step 'going back to a state with an interface that is gone by then'
plug_in_r2
rename_r2
lab_meshlb apply -f "$LAB_DIR/both.yaml"
expect 0 apply --confirm-timeout 2s
lab_in node1 ip link del other
went_back() { [[ $(lab_meshlb export) == *"${R2[0]}"* ]]; }
lab_until 5 went_back
[[ $(lab_meshlb export) != *other* ]] || fail 'an interface that is gone came back'
expect 0 lab_meshlb verify

step 'down'
lab_in node1 ip link del r1
expect 0 lab_meshlb down
[[ ! -e $PINS ]] || fail "left behind: $(find "$PINS")"
