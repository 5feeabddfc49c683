#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# bridge.sh - replicas behind a bridge of the node, as containers are.
# hooks: auto xdp xdp-generic tc nft
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

vote_in bridge
