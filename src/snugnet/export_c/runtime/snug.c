/* Runs the operations of snug.h one after the other. >> of a negative number must keep its sign, as all compilers of
 * the kind do. */
#include "snug.h"

#include <string.h>

#define CHUNK 16 /* channels that are summed side by side */

static int8_t limited(const snug_op *op, int64_t value) {
    if (value < op->low) value = op->low;
    if (value > op->high) value = op->high;
    return (int8_t)(value + op->zero_out);
}

/* Rounded to the nearest, halves up. */
static int64_t shifted(int64_t product, int shift) {
    return (product + ((int64_t)1 << (shift - 1))) >> shift;
}

static int8_t scaled(const snug_op *op, int64_t sum, int32_t number) {
    return limited(op, shifted(sum * op->factors[number], op->shifts[number]));
}

/* Products of `count` numbers with each of four rows of weights. */
static void four_dots(const int8_t *x, const int8_t *weights, int32_t count, int32_t *sums) {
    const int8_t *w0 = weights, *w1 = w0 + count, *w2 = w1 + count, *w3 = w2 + count;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, i;
    for (i = 0; i < count; i++) {
        s0 += x[i] * w0[i];
        s1 += x[i] * w1[i];
        s2 += x[i] * w2[i];
        s3 += x[i] * w3[i];
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

static int32_t dot(const int8_t *x, const int8_t *weights, int32_t count) {
    int32_t sum = 0, i;
    for (i = 0; i < count; i++) sum += x[i] * weights[i];
    return sum;
}

/* The channels [first, first + count) that the place (y, x) of the output reads, one beside the other. */
static const int8_t *gathered(const snug_op *op, int8_t *arena, int32_t y, int32_t x, int32_t first, int32_t count) {
    const int8_t *in = arena + op->in + first;
    int8_t *column = arena + op->scratch;
    int32_t row, place;
    if (op->kernel == 1 && !op->padding)
        return in + ((y * op->stride) * op->in_width + x * op->stride) * op->in_channels;
    for (row = y * op->stride - op->padding; row < y * op->stride - op->padding + op->kernel; row++) {
        for (place = x * op->stride - op->padding; place < x * op->stride - op->padding + op->kernel; place++) {
            if (row < 0 || row >= op->in_height || place < 0 || place >= op->in_width)
                memset(column, op->zero_in, (size_t)count);
            else
                memcpy(column, in + (row * op->in_width + place) * op->in_channels, (size_t)count);
            column += count;
        }
    }
    return arena + op->scratch;
}

/* `answers` instead of the arena takes the sums of the last operation. */
static void conv(const snug_op *op, int8_t *arena, int64_t *answers) {
    const int32_t per_group = op->in_channels / op->groups, outputs = op->out_channels / op->groups;
    const int32_t count = op->kernel * op->kernel * per_group;
    int8_t *out = arena + op->out;
    int32_t y, x, group, channel, rows, i, sums[4];
    for (y = 0; y < op->out_height; y++) {
        for (x = 0; x < op->out_width; x++) {
            for (group = 0; group < op->groups; group++) {
                const int8_t *column = gathered(op, arena, y, x, group * per_group, per_group);
                for (channel = group * outputs; channel < (group + 1) * outputs; channel += rows) {
                    const int8_t *weights = op->weights + channel * count;
                    rows = (group + 1) * outputs - channel >= 4 ? 4 : 1;
                    if (rows == 4)
                        four_dots(column, weights, count, sums);
                    else
                        sums[0] = dot(column, weights, count);
                    for (i = channel; i < channel + rows; i++) {
                        int64_t sum = (int64_t)sums[i - channel] + op->biases[i] + (op->starts ? op->starts[i] : 0);
                        if (answers)
                            answers[i] = sum;
                        else
                            out[i] = scaled(op, sum, i);
                    }
                }
            }
            out += op->out_channels;
        }
    }
}

/* Each channel by itself. An average pool is one whose weights are 1, with one scale for all. */
static void depthwise(const snug_op *op, int8_t *arena) {
    const int32_t channels = op->in_channels;
    int8_t *out = arena + op->out;
    int32_t y, x, first, row, place, i, sums[CHUNK];
    for (y = 0; y < op->out_height; y++) {
        for (x = 0; x < op->out_width; x++, out += channels) {
            for (first = 0; first < channels; first += CHUNK) {
                const int32_t count = channels - first < CHUNK ? channels - first : CHUNK;
                memset(sums, 0, sizeof sums);
                for (row = 0; row < op->kernel; row++) {
                    for (place = 0; place < op->kernel; place++) {
                        const int32_t v = y * op->stride - op->padding + row, u = x * op->stride - op->padding + place;
                        const int8_t *in = arena + op->in + (v * op->in_width + u) * channels + first;
                        const int32_t tap = (row * op->kernel + place) * channels + first;
                        if (v < 0 || v >= op->in_height || u < 0 || u >= op->in_width) continue;
                        if (op->kind == SNUG_AVG_POOL)
                            for (i = 0; i < count; i++) sums[i] += in[i] - op->zero_in;
                        else
                            for (i = 0; i < count; i++) sums[i] += op->weights[tap + i] * (in[i] - op->zero_in);
                    }
                }
                for (i = first; i < first + count; i++)
                    out[i] = op->kind == SNUG_AVG_POOL ? scaled(op, sums[i - first], 0)
                                                       : scaled(op, (int64_t)sums[i - first] + op->biases[i], i);
            }
        }
    }
}

/* In 32 bits where they hold it: factors have 20 bits then, and numbers 8. */
static void add(const snug_op *op, int8_t *arena) {
    const int8_t *a = arena + op->in, *b = arena + op->in2;
    const int32_t f = op->factors[0], g = op->factors[1], zero_a = op->zero_in, zero_b = op->zero_in2;
    const int32_t low = op->low, high = op->high, zero = op->zero_out;
    const int32_t count = op->out_height * op->out_width * op->out_channels;
    const int shift = op->shifts[0];
    int8_t *out = arena + op->out;
    int32_t i;
    if (shift <= 30 && f <= 1 << 20 && g <= 1 << 20) {
        const int32_t half = 1 << (shift - 1);
        for (i = 0; i < count; i++) {
            int32_t value = ((a[i] - zero_a) * f + (b[i] - zero_b) * g + half) >> shift;
            value = value < low ? low : value;
            value = value > high ? high : value;
            out[i] = (int8_t)(value + zero);
        }
    } else {
        for (i = 0; i < count; i++)
            out[i] = limited(op, shifted((int64_t)(a[i] - zero_a) * f + (int64_t)(b[i] - zero_b) * g, shift));
    }
}

static void mul(const snug_op *op, int8_t *arena) {
    const int8_t *a = arena + op->in, *b = arena + op->in2;
    int8_t *out = arena + op->out;
    int32_t place, i;
    for (place = 0; place < op->out_height * op->out_width; place++) {
        for (i = 0; i < op->out_channels; i++)
            out[i] = scaled(op, (int64_t)(a[i] - op->zero_in) * (b[op->groups > 1 ? 0 : i] - op->zero_in2), 0);
        a += op->out_channels, out += op->out_channels, b += op->step2;
    }
}

static void cat(const snug_op *op, int8_t *arena) {
    const int8_t *in = arena + op->in;
    int8_t *out = arena + op->out + op->first;
    int32_t place, i;
    for (place = 0; place < op->out_height * op->out_width; place++) {
        for (i = 0; i < op->in_channels; i++) out[i] = scaled(op, in[i] - op->zero_in, 0);
        in += op->in_channels, out += op->out_channels;
    }
}

/* Both pools may write over what they read: no place is read again once its own has been written. */
static void max_pool(const snug_op *op, int8_t *arena) {
    const int32_t channels = op->in_channels;
    int8_t *out = arena + op->out;
    int32_t y, x, row, place, i;
    for (y = 0; y < op->out_height; y++) {
        for (x = 0; x < op->out_width; x++, out += channels) {
            int is_first = 1;
            for (row = y * op->stride - op->padding; row < y * op->stride - op->padding + op->kernel; row++) {
                for (place = x * op->stride - op->padding; place < x * op->stride - op->padding + op->kernel; place++) {
                    const int8_t *in = arena + op->in + (row * op->in_width + place) * channels;
                    if (row < 0 || row >= op->in_height || place < 0 || place >= op->in_width) continue;
                    if (is_first)
                        memmove(out, in, (size_t)channels);
                    else
                        for (i = 0; i < channels; i++) out[i] = in[i] > out[i] ? in[i] : out[i];
                    is_first = 0;
                }
            }
        }
    }
}

static void map(const snug_op *op, int8_t *arena) {
    int32_t i;
    for (i = 0; i < op->out_height * op->out_width * op->out_channels; i++)
        arena[op->out + i] = op->weights[arena[op->in + i] + 128];
}

static void transpose(const snug_op *op, int8_t *arena) {
    const int32_t places = op->in_height * op->in_width;
    int32_t place, i;
    for (place = 0; place < places; place++)
        for (i = 0; i < op->in_channels; i++)
            arena[op->out + i * places + place] = arena[op->in + place * op->in_channels + i];
}

static void channel_max(const snug_op *op, int8_t *arena) {
    const int8_t *in = arena + op->in;
    int32_t place, i;
    for (place = 0; place < op->in_height * op->in_width; place++, in += op->in_channels) {
        int8_t largest = in[0];
        for (i = 1; i < op->in_channels; i++) largest = in[i] > largest ? in[i] : largest;
        arena[op->out + place] = largest;
    }
}

static void shuffle(const snug_op *op, int8_t *arena) {
    const int32_t each = op->in_channels / op->groups;
    const int8_t *in = arena + op->in;
    int8_t *out = arena + op->out;
    int32_t place, group, i;
    for (place = 0; place < op->in_height * op->in_width; place++, in += op->in_channels, out += op->in_channels)
        for (group = 0; group < op->groups; group++)
            for (i = 0; i < each; i++) out[i * op->groups + group] = in[group * each + i];
}

void snug_run_op(const snug_op *op, int8_t *arena, int64_t *sums) {
    switch (op->kind) {
    case SNUG_CONV: conv(op, arena, 0); break;
    case SNUG_DEPTHWISE:
    case SNUG_AVG_POOL: depthwise(op, arena); break;
    case SNUG_ADD: add(op, arena); break;
    case SNUG_MUL: mul(op, arena); break;
    case SNUG_CAT: cat(op, arena); break;
    case SNUG_MAX_POOL: max_pool(op, arena); break;
    case SNUG_MAP: map(op, arena); break;
    case SNUG_TRANSPOSE: transpose(op, arena); break;
    case SNUG_LOGITS: conv(op, arena, sums); break;
    case SNUG_CHANNEL_MAX: channel_max(op, arena); break;
    case SNUG_SHUFFLE: shuffle(op, arena); break;
    }
}

void snug_read_image(const snug_net *net, int8_t *arena, const uint8_t *image) {
    const int32_t count = net->height * net->width * net->channels;
    int8_t *out = arena + net->input;
    int32_t channel, i;
    for (channel = 0; channel < net->channels; channel++) {
        const int8_t *pixels = net->pixels + channel * 256;
        for (i = channel; i < count; i += net->channels) out[i] = pixels[image[i]];
    }
}

void snug_run(const snug_net *net, int8_t *arena, const uint8_t *image, int64_t *sums) {
    int32_t i;
    snug_read_image(net, arena, image);
    for (i = 0; i < net->count; i++) snug_run_op(net->ops + i, arena, sums);
}

void snug_logits(const snug_net *net, const int64_t *sums, float *logits) {
    int32_t i;
    for (i = 0; i < net->classes; i++) logits[i] = (float)((double)sums[i] * net->steps[i]);
}
