# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lib_kill.sh - sourced after lib.sh: commands that are killed at one of their system calls. Of a
# longer series $AT_MOST turns are tried, from a random start.

readonly SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

# How often a command makes a call.
calls_of() { # CALL COMMAND...
	local call=$1
	shift
	lab_in node1 strace -f -qq -e trace="$call" -o "$LAB_DIR/trace" \
		"$MESHLB" --instance "$LAB" "$@" >/dev/null
	grep -c "$call(" "$LAB_DIR/trace" || true
}

# A command may make some calls fewer than when they were counted (it removes what another has left):
# then it ends by itself.
kill_at() { # CALL N COMMAND...
	local call=$1 n=$2 status=0
	shift 2
	lab_in node1 strace -f -qq -e trace="$call" -e "inject=$call:signal=KILL:when=$n" \
		-o "$LAB_DIR/trace" "$MESHLB" --instance "$LAB" "$@" >"$LAB_DIR/killed" 2>&1 || status=$?
	[[ $status == 137 ]] || { ((status == 0)) && (($(grep -c "$call(" "$LAB_DIR/trace") < n)); } ||
		fail "$call $n of $*: not killed, exit code $status"
}

turns() { # NUMBER: the turns to try, of 1 to NUMBER
	local every=$((($1 + AT_MOST - 1) / AT_MOST))
	((every > 0)) || return 0
	seq $((SEED % every + 1)) "$every" "$1"
}
