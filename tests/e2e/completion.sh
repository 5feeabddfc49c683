#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# completion.sh - what bash offers behind a command line, word by word as readline breaks it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/meshlb.bash-completion
. scripts/meshlb.bash-completion

meshlb() { # what runs
	case $* in
	'instance ls') printf '%s\n' 'INSTANCE  SERVICES' 'a.b  1' 'default  2' ;;
	*a.b\ service\ ls) printf '%s\n' SERVICE of-a.b ;;
	*'service ls') printf '%s\n' SERVICE of-default ;;
	esac
}

offers() { # WORDS... , EXPECTED: the last word is the one that is being typed
	local -a COMP_WORDS=(meshlb "${@:1:$#-1}") COMPREPLY=()
	local COMP_CWORD=$(($# - 1))
	_meshlb
	equal "what is offered behind \"${*:1:$#-1}\"" "${COMPREPLY[*]}" "${!#}"
}

offers inst instance
offers instance '' ls
offers --instance '' 'a.b default'
offers --instance = 'a.b default'
offers --instance = d default
offers service show '' of-default
offers --instance a.b service show '' of-a.b
offers --instance = a.b service show '' of-a.b
offers --instance=a.b service show '' of-a.b
offers --ver '--verbose --version'
offers verify --f --file
offers status --f ''
offers conn '' 'ls count flush gc'
offers conn flush --s --service
offers conn gc --s ''
offers apply --f '--file --force'
