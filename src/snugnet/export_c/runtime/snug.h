/* An int8 net that runs in a static arena: what net.h holds, and what runs it.
 *
 * C99, no allocation, no floating point but for the logits. A map lies height, width, channels; a number q of it
 * stands for scale * (q - zero). Weights lie output channel, kernel row, kernel column, input channel.
 */
#ifndef SNUG_H
#define SNUG_H

#include <stdint.h>

typedef enum {
    SNUG_CONV,      /* linear layers too: of a map of one place */
    SNUG_DEPTHWISE, /* each channel by itself; weights lie kernel row, kernel column, channel */
    SNUG_ADD,
    SNUG_MUL,
    SNUG_CAT, /* one part of a concatenation */
    SNUG_MAX_POOL,
    SNUG_AVG_POOL,
    SNUG_MAP,       /* a table of 256 entries, that of q at q + 128 */
    SNUG_TRANSPOSE, /* channels first */
    SNUG_LOGITS,    /* a convolution whose sums are the answer */
    SNUG_CHANNEL_MAX, /* the largest of a place's channels */
    SNUG_SHUFFLE    /* the first channel of each group, the second of each, ... */
} snug_kind;

typedef struct {
    snug_kind kind;
    int32_t in, in2, out, scratch; /* places in the arena */
    int32_t in_height, in_width, in_channels;
    int32_t out_height, out_width, out_channels;
    int32_t kernel, stride, padding;
    int32_t groups;                    /* MUL: channels that share a number of the second input */
    int32_t step2;                     /* ADD, MUL: channels from place to place of the second input; 0: it has one */
    int32_t first;                     /* CAT: the first channel that is written */
    int32_t zero_in, zero_in2, zero_out;
    int32_t low, high;                 /* limits of q - zero of what comes out */
    const int8_t *weights;             /* MAP: the table */
    const int32_t *starts;             /* where the sums of a convolution begin; 0: all at zero */
    const int32_t *biases;
    const int32_t *factors;            /* a sum is scaled by factor / 2^shift, of each output channel or input */
    const uint8_t *shifts;
    const void *packed;                /* what a faster program keeps of the weights; 0 here */
} snug_op;

typedef struct {
    const snug_op *ops;
    int32_t count;
    int32_t height, width, channels, classes;
    int32_t input;            /* the image's place in the arena */
    const int8_t *pixels;     /* [channels][256]: q of each value of a pixel */
    const double *steps;      /* what one of each class's sums is worth */
} snug_net;

/* `image`: height x width x channels bytes, as a PPM file or a camera has them. `sums`, `logits`: one a class. */
void snug_run(const snug_net *net, int8_t *arena, const uint8_t *image, int64_t *sums);
void snug_logits(const snug_net *net, const int64_t *sums, float *logits);

/* The parts, for programs that run some operations in their own way. */
void snug_read_image(const snug_net *net, int8_t *arena, const uint8_t *image);
void snug_run_op(const snug_op *op, int8_t *arena, int64_t *sums);

#endif
