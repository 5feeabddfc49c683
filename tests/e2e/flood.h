/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flood.h - what the generator's program (flood.bpf.c) and flood.c share. */
#ifndef FLOOD_H
#define FLOOD_H

#define FLOOD_FRAME4 60 /* a minimal frame, 64 bytes with its checksum */
#define FLOOD_FRAME6 74
#define FLOOD_WORDS  10 /* the longer one, rounded up */

#endif
