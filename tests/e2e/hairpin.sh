#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# hairpin.sh - replicas in the client's own segment: packets leave by the interface they came by.
# hooks: xdp xdp-generic tc nft
# guest: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in same

# A node that tells a replica of the better way to a client breaks what comes after it.
step 'again and again'
for i in {1..10}; do
	[[ $(ask 4) && $(ask 6) ]] || fail "request $i"
done
expect 0 verify
