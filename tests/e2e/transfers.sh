#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# transfers.sh - connections with transfers of any size that end in good order: none is counted when its
# sockets are gone, and a drain waits for none. Large segments (GSO, GRO) are what tc sees.
# hooks: tc
# full: xdp xdp-generic
# limit: 240
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly PORT=9000
seed=${SEED:-$RANDOM}
lab_topology direct 2
for replica in r1 r2; do
	lab_spawn $replica "$E2E/transfers.py" serve $PORT
	lab_until 10 lab_listening $replica $PORT
done
lab_service bulk "*:$PORT" $PORT | lab_config >"$CONFIG"
echo 'timeouts: { closing: 1h, closed: 1h }' >>"$CONFIG"
expect 0 apply

step "transfers, seed $seed"
lab_in node2 "$E2E/transfers.py" client $PORT "$seed" 80 12 $VIP4 $VIP6 || fail "with seed $seed"
open() { # CLIENT STATE of each that is not over
	lab_meshlb -j conn ls | jq -r '.connections[] | select(.state != "closing") | "\(.client) \(.state)"'
}
all_are_over() { [[ -z $(open) ]]; }
lab_until 10 all_are_over || fail "with seed $seed: $(open)"
equal 'connections' "$(lab_meshlb conn count)" 92
equal 'active' "$(lab_meshlb -j service show bulk | jq -c '[.backends[].active]')" '[0,0,0,0]'
for address in "${LAB_V4[@]}"; do
	expect 0 lab_meshlb backend drain bulk "$address:$PORT" --wait --timeout 5s
done
