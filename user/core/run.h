/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.h - where what a process leaves for another one lies, beside the kernel's state. */
#ifndef LB_RUN_H
#define LB_RUN_H

#define LB_RUN_DIR "/run/meshlb"

#endif
