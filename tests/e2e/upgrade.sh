#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# upgrade.sh - a new build of the BPF object replaces the programs under traffic and keeps the
# connections; a build with another map layout that it does not take over says so and touches
# nothing. (One that does: migrate.sh.)
# hooks: tc
# full: xdp xdp-generic
# guest: full
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

old=$MESHLB
variant alien include/lb_abi.h 's/^\(#define LB_ABI_\(VERSION\|OLDEST\)\) .*/\1 254/'

vote_held
before=$(prog_ids)
begin_traffic 8080

step 'another build'
MESHLB=$BUILD/next/meshlb
expect 3 verify
expect_text "$OUT" '[Bb]uild|program'
expect 0 apply
expect 0 verify
[[ $(prog_ids) != "$before" ]] || fail 'the programs are the same ones'
for i in 1 2 3; do
	equal 'the held IPv4 connection' "$(ask_held h4)" "$held4"
	equal 'the held IPv6 connection' "$(ask_held h6)" "$held6"
	sleep 1.2 # a tick further
done
expect_text "$(lab_meshlb conn ls)" "$CLIENT4"

step 'and back'
MESHLB=$old
expect 0 apply
equal 'the held IPv4 connection' "$(ask_held h4)" "$held4"

step 'another layout'
before=$(prog_ids)
abi=$(lab_meshlb -j version | jq .abi)
MESHLB=$LAB_DIR/alien/build/meshlb
expect 1 apply
expect_text "$ERR" "layout $abi, .* 254, .* takes over from 254 on"
expect_text "$ERR" 'meshlb down'
MESHLB=$old
equal programs "$(prog_ids)" "$before"
[[ ! -e $PINS/next ]] || fail "left: $(ls "$PINS/next")"
equal 'the held IPv4 connection' "$(ask_held h4)" "$held4"
equal 'the held IPv6 connection' "$(ask_held h6)" "$held6"
end_traffic
expect 0 verify
expect_alternation 4 4

step 'its maps are removed by a build that does not know them, as it says'
MESHLB=$LAB_DIR/alien/build/meshlb
expect 0 lab_meshlb down
[[ ! -e $PINS ]] || fail "left: $(ls "$PINS")"
MESHLB=$old
expect 0 apply
expect_alternation 4 4
