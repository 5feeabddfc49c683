#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# iterator.sh - `cat connections` prints the table; on a kernel that refuses BPF iterators over maps
# (lockdown) all else works, and `status` says what is missing.
# hooks: tc
# guest: tc
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in direct

rows() { # sorted: protocol, client, service, backend
	tail -n +2 | awk '{ print $1, $2, $3, $4 }' | sort
}

if kernel_has_iterators; then
	step 'the file prints what conn ls prints'
	expect 0 cat "$PINS/connections"
	equal 'the first line' "$(head -n 1 <<<"$OUT")" 'proto client service backend state idle'
	expect_text "$OUT" "^tcp $CLIENT4:[0-9]+ $VIP4:8080 10\\.0\\.1\\.[0-9]+:80 [A-Z_]+ [0-9]+$"
	equal 'connections over IPv4' "$(rows <<<"$OUT" | grep -vF '[')" \
		"$(lab_meshlb conn ls | rows | grep -vF '[')"
	equal 'their number' "$(rows <<<"$OUT" | wc -l)" "$(lab_meshlb -j conn count | jq .connections)"
	equal 'iterator' "$(lab_meshlb -j status | jq .iterator)" null
	step 'a pin that is gone is found, and mended'
	rm "$PINS/connections"
	expect 3 verify
	expect_text "$OUT$ERR" 'the pin ".*/connections" is missing'
	expect 0 apply
	expect 0 verify
	expect 0 cat "$PINS/connections"
else
	step 'this kernel refuses BPF iterators over maps'
	[[ ! -e $PINS/connections ]] || fail 'there is a pin "connections"'
	expect 0 lab_meshlb status
	expect_text "$OUT" '^no file "connections": this kernel refuses .*Operation not permitted'
	equal 'iterator' "$(lab_meshlb -j status | jq -r .iterator)" 'Operation not permitted'
	expect_text "$(lab_meshlb conn ls)" "$CLIENT4:[0-9]+ +$VIP4:8080"
	expect 0 apply
	expect_text "$OUT" '[Nn]o difference'
fi
