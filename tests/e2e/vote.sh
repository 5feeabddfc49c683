#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vote.sh - replicas on links of their own: curl alternates, IPv4 and IPv6, client address kept.
# hooks: auto xdp xdp-generic tc nft
# guest: xdp nft ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in direct

step 'the instance without services passes what is not its business'
expect 7 lab_as_user node2 curl -sS -m 3 "${LAB_V4[0]}:8080"
equal 'straight to a replica' "$(ask 4 "${LAB_V4[0]}")" "$(lab_id r1)"

step 'down takes everything away'
lab_meshlb down
[[ ! -e $PINS ]] || fail "$PINS is still there"
expect 7 lab_as_user node2 curl -sS -m 3 node1:8080
