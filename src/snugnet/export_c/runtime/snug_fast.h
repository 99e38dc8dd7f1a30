/* The same net faster on a processor with vectors of 256 bits: convolutions as products of int16 matrices, those of
 * 3x3 in Winograd's form. Every number is the one that snug.c gives. */
#ifndef SNUG_FAST_H
#define SNUG_FAST_H

#include "snug.h"

#include <stddef.h>

/* Bytes of the memory that snug_fast_prepare fills; it is read as long as the net runs. 0: nothing is faster here. */
size_t snug_fast_bytes(const snug_net *net);

/* Packs weights into `memory`, which lies at a multiple of 64, and has the operations know of them. */
void snug_fast_prepare(const snug_net *net, snug_op *ops, void *memory);

/* As snug_run; behind the arena lie 64 bytes more, which are read and written as they are. */
void snug_fast_run(const snug_net *net, int8_t *arena, const uint8_t *image, int64_t *sums);

#endif
