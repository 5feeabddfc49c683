#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# upgrade_many.sh - other builds replace the programs, one after another, while 10,000 connections
# and streams of datagrams carry data: none breaks, and each packet that one end sends comes to the
# other.
# hooks: xdp
# full: tc xdp-generic
# limit: 400
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/lib_pulse.sh
. "$E2E/lib_pulse.sh"

readonly TIMES=8
old=$MESHLB

pulse_begin 5000 5000
for ((i = 1; i <= TIMES; i++)); do
	before=$(prog_ids)
	MESHLB=$old
	((i % 2 == 0)) || MESHLB=$BUILD/next/meshlb
	expect 0 apply
	[[ $(prog_ids) != "$before" ]] || fail "build $i: the programs are the same ones"
	expect 0 verify
	sleep 1
done
pulse_end
