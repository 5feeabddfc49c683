#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# hairpin.sh - replicas in the client's own segment: packets leave by the interface they came by.
# hooks: xdp xdp-generic tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in same
