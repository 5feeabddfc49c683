#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# router.sh - replicas in other networks behind a router, found by the node's routing table.
# hooks: xdp xdp-generic tc nft
# guest: full
# guest-full: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in router

step 'a route that changes is followed'
lab_addr node1 eth1 10.9.0.3/24
lab_addr router eth1 10.9.0.4/24
lab_in node1 ip -4 route change 10.0.0.0/16 via 10.9.0.4
expect_alternation 4 4
