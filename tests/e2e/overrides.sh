#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# overrides.sh - what is set by hand: drain, undrain and weight; it survives apply, shows in status
# and verify, and ends with undrain or --reset-overrides.
# hooks: tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 wrr | lab_config >"$CONFIG"
apply
readonly R1=${LAB_V4[0]}:80 R2=${LAB_V4[1]}:80

# How many of 12 IPv4 requests r1 and r2 answer.
shares() {
	local i
	for ((i = 0; i < 12; i++)); do
		ask 4
	done >"$LAB_DIR/ids"
	echo "$(grep -c "$(lab_id r1)" "$LAB_DIR/ids") $(grep -c "$(lab_id r2)" "$LAB_DIR/ids")"
}
equal 'shares at first' "$(shares)" '6 6'

step 'drain: no new connections, the old ones live on'
declare -A held=()
for i in 1 2; do
	id=$(hold_open "h$i" 4)
	held[$id]=h$i
done
expect 0 lab_meshlb backend drain vote "$R1"
equal 'shares with r1 drained' "$(shares)" '0 12'
equal 'the connection to r1' "$(ask_held "${held[$(lab_id r1)]}")" "$(lab_id r1)"
expect_text "$(lab_meshlb status; lab_meshlb service show vote)" "$R1.*drain|drain.*$R1"

step 'it survives apply, and verify lists it without calling it a difference'
expect 0 apply
equal 'shares after apply' "$(shares)" '0 12'
expect 0 verify
expect_text "$OUT" "$R1"
{
	lab_service vote '*:8080' 80 wrr
	lab_service other '*:8090' 80
} | lab_config >"$CONFIG"
expect 0 apply
equal 'shares after another apply' "$(shares)" '0 12'
expect_alternation 4 4 node1:8090

step 'undrain'
expect 0 lab_meshlb backend undrain vote "$R1"
equal 'shares after undrain' "$(shares)" '6 6'

step 'weights'
expect 0 lab_meshlb backend weight vote "$R2" 3
equal 'shares at 1 to 3' "$(shares)" '3 9'
expect 0 apply --reset-overrides
equal 'shares after --reset-overrides' "$(shares)" '6 6'

step 'all drained: refused by name, and undrained it works again'
lab_meshlb backend drain vote "$R1"
lab_meshlb backend drain vote "$R2"
! ask 4 2>/dev/null || fail 'a service without backends answers'
expect_text "$(lab_meshlb stats)" no-backend
expect_alternation 6 4
lab_meshlb apply -f "$CONFIG" --reset-overrides
equal 'shares at last' "$(shares)" '6 6'

step 'what does not exist'
expect 1 lab_meshlb backend drain nobody "$R1"
expect_text "$ERR" nobody
expect 1 lab_meshlb backend drain vote 10.9.9.9:80
expect_text "$ERR" '10\.9\.9\.9:80'
expect 2 lab_meshlb backend weight vote "$R1"
expect 2 lab_meshlb backend weight vote "$R1" 65536
expect_text "$ERR" 65536
