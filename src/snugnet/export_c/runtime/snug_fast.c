/* A convolution here is a product of matrices: rows are places of the map, columns output channels, and what is summed
 * goes by pairs of int16, as the processor multiplies them. Sums are int32, scaled in float64, which holds every product
 * of a sum and a factor exactly.
 *
 * Winograd's form computes 2x2 places of a 3x3 convolution from 4x4 inputs by 16 products instead of 36 (Lavin and Gray
 * 2015, arXiv 1509.09308). With the weights' transform doubled on both sides all of it is whole numbers: transformed
 * inputs are within 4 * 255, weights within 9 * 127, and results are four times the sums, exactly. Sums on the way may
 * wrap around; what comes out is below 2^31 for up to MOST channels.
 */
#include "snug_fast.h"

#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>

#define ROWS 6      /* places side by side: with 2 vectors of channels they fill 12 of 16 registers */
#define COLUMNS 16  /* channels side by side */
#define WIDEST 11   /* kernel */
#define LONGEST 66000 /* products of 9 and 8 bits whose sum fits int32 */
#define MOST 1024   /* channels that Winograd's form takes */
#define TILES 32    /* of 2x2 places that are transformed at once */
#define NARROW 8    /* channels from which on it pays, */
#define FEW 16      /* and tiles of a map: there are 16 weights then for 9 */
#define EDGE 32     /* int16 behind a buffer that whole vectors may touch */

typedef struct {
    int is_winograd;
    int32_t channels;            /* of the input, rounded up to pairs */
    int32_t height, width;       /* of the padded input */
    int32_t columns;             /* output channels, rounded up to vectors */
    int32_t tiles;               /* that are transformed at once */
    int16_t *weights;            /* [block of COLUMNS][pair][column][2]; of Winograd's form 16 such in each block */
    double *factors, *offsets;   /* result = floor(sum * factor + offset) */
    int16_t *padded, *inputs;    /* q - zero with zeros around; transformed */
    int32_t *products;           /* [16][tiles][COLUMNS] */
} packed;

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static int is_fast(const snug_op *op) {
    return op->kind == SNUG_CONV && op->groups == 1 && op->kernel <= WIDEST &&
           op->kernel * op->kernel * op->in_channels <= LONGEST;
}

static packed shape_of(const snug_op *op) {
    packed p;
    memset(&p, 0, sizeof p);
    const int32_t down = (op->out_height + 1) / 2, across = (op->out_width + 1) / 2;
    p.is_winograd = op->kernel == 3 && op->stride == 1 && op->padding == 1 && op->in_channels <= MOST &&
                    op->in_channels >= NARROW && down * across >= FEW;
    p.channels = (op->in_channels + 1) / 2 * 2;
    p.columns = (op->out_channels + 7) / 8 * 8;
    p.height = p.is_winograd ? 2 * down + 2 : (op->out_height - 1) * op->stride + op->kernel;
    p.width = p.is_winograd ? 2 * across + 2 : (op->out_width - 1) * op->stride + op->kernel;
    p.tiles = least(down * across, TILES);
    return p;
}

static size_t weights_of(const snug_op *op, const packed *p) {
    return (size_t)p->columns * p->channels * (p->is_winograd ? 16 : op->kernel * op->kernel);
}

/* Int16 of the padded input, of transformed tiles, int32 of their products; all operations share them. */
static void work_of(const packed *p, size_t *work) {
    work[0] = (size_t)p->height * p->width * p->channels + EDGE;
    work[1] = p->is_winograd ? 16 * ((size_t)p->tiles * p->channels + EDGE) : 0;
    work[2] = p->is_winograd ? (size_t)16 * p->tiles * COLUMNS : 0;
}

static void most_work(const snug_net *net, size_t *most) {
    most[0] = most[1] = most[2] = 0;
    for (int32_t i = 0; i < net->count; i++) {
        if (!is_fast(net->ops + i)) continue;
        const packed p = shape_of(net->ops + i);
        size_t own[3];
        work_of(&p, own);
        for (int part = 0; part < 3; part++) most[part] = own[part] > most[part] ? own[part] : most[part];
    }
}

size_t snug_fast_bytes(const snug_net *net) {
    size_t most[3], bytes = 0;
    most_work(net, most);
    for (int32_t i = 0; i < net->count; i++) {
        if (!is_fast(net->ops + i)) continue;
        const packed p = shape_of(net->ops + i);
        bytes += rounded(sizeof p) + rounded(2 * weights_of(net->ops + i, &p)) + 2 * rounded(8 * (size_t)p.columns);
    }
    return bytes + rounded(2 * most[0]) + rounded(2 * most[1]) + rounded(4 * most[2]);
}

/* Twice the transform of a row of three weights. */
static void doubled(const int32_t *g, int step, int32_t *out, int out_step) {
    out[0] = 2 * g[0];
    out[out_step] = g[0] + g[step] + g[2 * step];
    out[2 * out_step] = g[0] - g[step] + g[2 * step];
    out[3 * out_step] = 2 * g[2 * step];
}

/* The numbers that one input channel has for one output channel: K * K weights, or 16 transformed ones. */
static void taps_of(const snug_op *op, const packed *p, int32_t column, int32_t channel, int32_t *taps) {
    const int32_t count = op->kernel * op->kernel;
    int32_t half[12], tap;
    for (tap = 0; tap < count; tap++) {
        const int is_there = column < op->out_channels && channel < op->in_channels;
        taps[tap] = is_there ? op->weights[(column * count + tap) * op->in_channels + channel] : 0;
    }
    if (!p->is_winograd) return;
    for (tap = 0; tap < 3; tap++) doubled(taps + 3 * tap, 1, half + 4 * tap, 1);
    for (tap = 0; tap < 4; tap++) doubled(half + tap, 4, taps + tap, 4);
}

static void pack_weights(const snug_op *op, const packed *p) {
    const int32_t count = p->is_winograd ? 16 : op->kernel * op->kernel;
    int32_t taps[WIDEST * WIDEST];
    for (int32_t column = 0; column < p->columns; column++) {
        const int32_t first = column / COLUMNS * COLUMNS, wide = least(COLUMNS, p->columns - first);
        int16_t *block = p->weights + (size_t)first * count * p->channels;
        for (int32_t channel = 0; channel < p->channels; channel++) {
            taps_of(op, p, column, channel, taps);
            for (int32_t tap = 0; tap < count; tap++) {
                const size_t pair = ((size_t)tap * p->channels + channel) / 2;
                block[(pair * wide + column - first) * 2 + channel % 2] = (int16_t)taps[tap];
            }
        }
    }
}

static void pack_scaling(const snug_op *op, const packed *p) {
    for (int32_t i = 0; i < p->columns; i++) {
        const int is_there = i < op->out_channels;
        const double factor = is_there ? op->factors[i] / (double)((int64_t)1 << op->shifts[i]) : 0;
        const int64_t begun = is_there ? (int64_t)op->biases[i] + (op->starts ? op->starts[i] : 0) : 0;
        int64_t zeros = 0; /* products here are of q - zero; what biases hold for that goes out again */
        if (is_there)
            for (int32_t k = 0; k < op->kernel * op->kernel * op->in_channels; k++)
                zeros += op->weights[(size_t)i * op->kernel * op->kernel * op->in_channels + k];
        p->factors[i] = p->is_winograd ? factor / 4 : factor;
        p->offsets[i] = (double)(begun + zeros * op->zero_in) * factor + 0.5;
    }
}

void snug_fast_prepare(const snug_net *net, snug_op *ops, void *memory) {
    char *next = memory;
    size_t most[3];
    most_work(net, most);
    int16_t *padded = (int16_t *)next, *inputs = (int16_t *)(next += rounded(2 * most[0]));
    int32_t *products = (int32_t *)(next += rounded(2 * most[1]));
    next += rounded(4 * most[2]);
    for (int32_t i = 0; i < net->count; i++) {
        if (!is_fast(ops + i)) continue;
        packed p = shape_of(ops + i), *kept = (packed *)next;
        next += rounded(sizeof p);
        p.factors = (double *)next, next += rounded(8 * (size_t)p.columns);
        p.offsets = (double *)next, next += rounded(8 * (size_t)p.columns);
        p.weights = (int16_t *)next, next += rounded(2 * weights_of(ops + i, &p));
        p.padded = padded, p.inputs = inputs, p.products = products;
        pack_weights(ops + i, &p);
        pack_scaling(ops + i, &p);
        *kept = p;
        ops[i].packed = kept;
    }
}

/* q - zero in int16, with zeros around. Whole vectors run into what comes next, which is written later. */
static void widen(const snug_op *op, const packed *p, const int8_t *in) {
    const __m256i zero = _mm256_set1_epi16((int16_t)op->zero_in);
    const int32_t pad = op->padding, right = p->width - pad - op->in_width;
    const int32_t inside = right < 0 ? op->in_width + right : op->in_width;
    const int is_dense = p->channels == op->in_channels;
    const int32_t runs = is_dense ? 1 : inside, length = is_dense ? inside * p->channels : op->in_channels;
    for (int32_t y = 0; y < p->height; y++) {
        int16_t *out = p->padded + (size_t)y * p->width * p->channels;
        if (y < pad || y - pad >= op->in_height) {
            memset(out, 0, 2 * (size_t)p->width * p->channels);
            continue;
        }
        const int8_t *from = in + (size_t)(y - pad) * op->in_width * op->in_channels;
        memset(out, 0, 2 * (size_t)pad * p->channels);
        out += pad * p->channels;
        for (int32_t run = 0; run < runs; run++) {
            for (int32_t i = 0; i < length; i += 16) {
                const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(from + i)));
                _mm256_storeu_si256((__m256i *)(out + i), _mm256_sub_epi16(wide, zero));
            }
            from += length, out += is_dense ? length : p->channels;
        }
        if (right > 0) memset(out, 0, 2 * (size_t)right * p->channels);
    }
}

#define INLINE static inline __attribute__((always_inline))

/* Two neighbours, for all columns. Not left to the compiler, which would load those of all rows first and have no
 * register left for sums. */
INLINE __m256i pair_of(const int16_t *x) {
    __m256i both;
    __asm__ volatile("vpbroadcastd %1, %0" : "=x"(both) : "m"(*(const int16_t(*)[2])x));
    return both;
}

#define ROW(r)                                                             \
    if (r < rows) {                                                        \
        const __m256i both = pair_of(x##r + i);                            \
        a##r = _mm256_add_epi32(a##r, _mm256_madd_epi16(both, w));         \
        if (vectors == 2) {                                                \
            b##r = _mm256_add_epi32(b##r, _mm256_madd_epi16(both, w2));    \
            __asm__ volatile("" : "+x"(a##r), "+x"(b##r));                 \
        }                                                                  \
    }

#define STORE(r)                                                           \
    if (r < rows) {                                                        \
        _mm256_store_si256((__m256i *)(out + r * COLUMNS), a##r);          \
        if (vectors == 2) _mm256_store_si256((__m256i *)(out + r * COLUMNS) + 1, b##r); \
    }

/* rows x 8 * vectors sums of products. Row r reads `segments` runs of `pairs` pairs from x[r] on, `step` apart. */
INLINE void tile_of(const int rows, const int vectors, const int16_t *const *x, int32_t segments, int32_t pairs,
                    ptrdiff_t step, const int16_t *weights, int32_t *out) {
    const int16_t *const x0 = x[0], *const x1 = x[rows > 1 ? 1 : 0], *const x2 = x[rows > 2 ? 2 : 0];
    const int16_t *const x3 = x[rows > 3 ? 3 : 0], *const x4 = x[rows > 4 ? 4 : 0], *const x5 = x[rows > 5 ? 5 : 0];
    __m256i a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5;
    a0 = a1 = a2 = a3 = a4 = a5 = b0 = b1 = b2 = b3 = b4 = b5 = _mm256_setzero_si256();
    for (int32_t segment = 0; segment < segments; segment++) {
        const ptrdiff_t first = segment * step;
        for (ptrdiff_t i = first; i < first + 2 * pairs; i += 2) {
            const __m256i w = _mm256_load_si256((const __m256i *)weights);
            const __m256i w2 = vectors == 2 ? _mm256_load_si256((const __m256i *)weights + 1) : w;
            weights += 16 * vectors;
            ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5)
        }
    }
    STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5)
}

static void tile(int32_t rows, int32_t vectors, const int16_t *const *x, int32_t segments, int32_t pairs,
                 ptrdiff_t step, const int16_t *weights, int32_t *out) {
    if (vectors == 2) {
        if (rows == 6) tile_of(6, 2, x, segments, pairs, step, weights, out);
        else if (rows == 4) tile_of(4, 2, x, segments, pairs, step, weights, out);
        else tile_of(1, 2, x, segments, pairs, step, weights, out);
    } else {
        if (rows == 6) tile_of(6, 1, x, segments, pairs, step, weights, out);
        else if (rows == 4) tile_of(4, 1, x, segments, pairs, step, weights, out);
        else tile_of(1, 1, x, segments, pairs, step, weights, out);
    }
}

static int32_t rows_of(int32_t left) { return left >= 6 ? 6 : left >= 4 ? 4 : 1; }

/* Four sums to q - zero. */
INLINE __m128i scaled(__m128i sums, const double *factors, const double *offsets, __m256d low, __m256d high) {
    __m256d value = _mm256_cvtepi32_pd(sums);
    value = _mm256_add_pd(_mm256_mul_pd(value, _mm256_load_pd(factors)), _mm256_load_pd(offsets));
    value = _mm256_min_pd(_mm256_max_pd(_mm256_floor_pd(value), low), high);
    return _mm256_cvtpd_epi32(value);
}

/* Eight sums to q, in the low half. */
INLINE __m128i finished(const snug_op *op, const packed *p, __m256i sums, int32_t channel) {
    const __m256d low = _mm256_set1_pd(op->low), high = _mm256_set1_pd(op->high);
    const double *factors = p->factors + channel, *offsets = p->offsets + channel;
    const __m128i a = scaled(_mm256_castsi256_si128(sums), factors, offsets, low, high);
    const __m128i b = scaled(_mm256_extracti128_si256(sums, 1), factors + 4, offsets + 4, low, high);
    const __m128i both = _mm_add_epi16(_mm_packs_epi32(a, b), _mm_set1_epi16((int16_t)op->zero_out));
    return _mm_packs_epi16(both, both);
}

/* Eight numbers, or the first few of them: the rest of the eight bytes stays. */
INLINE void put(int8_t *out, __m128i values, int32_t count) {
    if (count < 8) {
        const __m128i places = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m128i is_ours = _mm_cmplt_epi8(places, _mm_set1_epi8((char)count));
        values = _mm_blendv_epi8(_mm_loadl_epi64((const __m128i *)out), values, is_ours);
    }
    _mm_storel_epi64((__m128i *)out, values);
}

/* As that of snug.c: no place is read again once its own has been written. */
static void max_pool(const snug_op *op, int8_t *arena) {
    const int32_t channels = op->in_channels;
    int8_t *out = arena + op->out;
    for (int32_t y = 0; y < op->out_height; y++) {
        for (int32_t x = 0; x < op->out_width; x++, out += channels) {
            const int32_t top = y * op->stride - op->padding, left = x * op->stride - op->padding;
            for (int32_t first = 0; first < channels; first += 8) {
                __m128i most = _mm_set1_epi8(-128);
                for (int32_t v = top < 0 ? 0 : top; v < least(top + op->kernel, op->in_height); v++)
                    for (int32_t u = left < 0 ? 0 : left; u < least(left + op->kernel, op->in_width); u++)
                        most = _mm_max_epi8(most, _mm_loadl_epi64((const __m128i *)(arena + op->in +
                                                  ((size_t)v * op->in_width + u) * channels + first)));
                put(out + first, most, channels - first);
            }
        }
    }
}

static void direct(const snug_op *op, int8_t *arena) {
    const packed *p = op->packed;
    const int32_t places = op->out_height * op->out_width, count = op->kernel * op->kernel * p->channels;
    int32_t sums[ROWS * COLUMNS] __attribute__((aligned(32)));
    widen(op, p, arena + op->in);
    for (int32_t first = 0; first < p->columns; first += COLUMNS) {
        const int32_t vectors = least(COLUMNS, p->columns - first) / 8;
        int32_t rows, y = 0, x = 0;
        for (int32_t place = 0; place < places; place += rows) {
            const int16_t *from[ROWS];
            rows = rows_of(places - place);
            for (int32_t r = 0; r < rows; r++) {
                from[r] = p->padded + ((size_t)y * op->stride * p->width + x * op->stride) * p->channels;
                if (++x == op->out_width) x = 0, y++;
            }
            tile(rows, vectors, from, op->kernel, op->kernel * p->channels / 2, (ptrdiff_t)p->width * p->channels,
                 p->weights + (size_t)first * count, sums);
            for (int32_t r = 0; r < rows; r++) {
                int8_t *out = arena + op->out + (size_t)(place + r) * op->out_channels + first;
                for (int32_t v = 0; v < vectors; v++) {
                    const __m256i own = _mm256_load_si256((const __m256i *)(sums + r * COLUMNS) + v);
                    put(out + 8 * v, finished(op, p, own, first + 8 * v), op->out_channels - first - 8 * v);
                }
            }
        }
    }
}

/* [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1] times four vectors. */
INLINE void transformed(const __m256i *d, int step, __m256i *out) {
    out[0] = _mm256_sub_epi16(d[0], d[2 * step]);
    out[step] = _mm256_add_epi16(d[step], d[2 * step]);
    out[2 * step] = _mm256_sub_epi16(d[2 * step], d[step]);
    out[3 * step] = _mm256_sub_epi16(d[step], d[3 * step]);
}

/* Tiles [first, first + count) to inputs[16][count][channels]. */
static void transform(const packed *p, int32_t across, int32_t first, int32_t count, size_t plane) {
    for (int32_t t = 0; t < count; t++) {
        const int32_t y = (first + t) / across, x = (first + t) % across;
        const int16_t *from = p->padded + ((size_t)2 * y * p->width + 2 * x) * p->channels;
        int16_t *out = p->inputs + (size_t)t * p->channels;
        for (int32_t channel = 0; channel < p->channels; channel += 16) {
            __m256i d[16], half[16];
            for (int i = 0; i < 16; i++)
                d[i] = _mm256_loadu_si256(
                    (const __m256i *)(from + ((size_t)(i / 4) * p->width + i % 4) * p->channels + channel));
            for (int i = 0; i < 4; i++) transformed(d + 4 * i, 1, half + 4 * i);
            for (int i = 0; i < 4; i++) transformed(half + i, 4, d + i);
            for (int i = 0; i < 16; i++) _mm256_storeu_si256((__m256i *)(out + i * plane + channel), d[i]);
        }
    }
}

/* [1 1 1 0; 0 1 -1 -1] times four vectors. */
INLINE void gathered(const __m256i *m, int step, __m256i *out, int out_step) {
    out[0] = _mm256_add_epi32(_mm256_add_epi32(m[0], m[step]), m[2 * step]);
    out[out_step] = _mm256_sub_epi32(_mm256_sub_epi32(m[step], m[2 * step]), m[3 * step]);
}

/* products[16][count][COLUMNS] of channels from `column` on to the places of tiles [first, first + count). */
static void untransform(const snug_op *op, const packed *p, int8_t *map, int32_t across, int32_t first, int32_t count,
                        int32_t column, int32_t vectors) {
    for (int32_t t = 0; t < count; t++) {
        const int32_t y = (first + t) / across * 2, x = (first + t) % across * 2;
        for (int32_t v = 0; v < vectors; v++) {
            __m256i m[16], half[8], sums[4];
            for (int i = 0; i < 16; i++)
                m[i] = _mm256_load_si256((const __m256i *)(p->products + ((size_t)i * count + t) * COLUMNS) + v);
            for (int i = 0; i < 4; i++) gathered(m + 4 * i, 1, half + 2 * i, 1);
            for (int i = 0; i < 2; i++) gathered(half + i, 2, sums + i, 2);
            for (int i = 0; i < 4; i++) {
                if (y + i / 2 >= op->out_height || x + i % 2 >= op->out_width) continue;
                const int32_t channel = column + 8 * v;
                int8_t *out = map + ((size_t)(y + i / 2) * op->out_width + x + i % 2) * op->out_channels + channel;
                put(out, finished(op, p, sums[i], channel), op->out_channels - channel);
            }
        }
    }
}

static void winograd(const snug_op *op, int8_t *arena) {
    const packed *p = op->packed;
    const int32_t across = (op->out_width + 1) / 2, tiles = across * ((op->out_height + 1) / 2);
    widen(op, p, arena + op->in);
    for (int32_t first = 0; first < tiles; first += p->tiles) {
        const int32_t count = least(p->tiles, tiles - first);
        const size_t plane = (size_t)count * p->channels + EDGE;
        transform(p, across, first, count, plane);
        for (int32_t column = 0; column < p->columns; column += COLUMNS) {
            const int32_t vectors = least(COLUMNS, p->columns - column) / 8;
            for (int32_t i = 0; i < 16; i++) {
                const int16_t *weights = p->weights + ((size_t)column * 16 + (size_t)i * 8 * vectors) * p->channels;
                int32_t rows;
                for (int32_t t = 0; t < count; t += rows) {
                    const int16_t *from[ROWS];
                    rows = rows_of(count - t);
                    for (int32_t r = 0; r < rows; r++) from[r] = p->inputs + i * plane + (size_t)(t + r) * p->channels;
                    tile(rows, vectors, from, 1, p->channels / 2, 0, weights,
                         p->products + ((size_t)i * count + t) * COLUMNS);
                }
            }
            untransform(op, p, arena + op->out, across, first, count, column, vectors);
        }
    }
}

void snug_fast_run(const snug_net *net, int8_t *arena, const uint8_t *image, int64_t *sums) {
    snug_read_image(net, arena, image);
    for (int32_t i = 0; i < net->count; i++) {
        const snug_op *op = net->ops + i;
        if (op->kind == SNUG_MAX_POOL) max_pool(op, arena);
        else if (!op->packed) snug_run_op(op, arena, sums);
        else if (((const packed *)op->packed)->is_winograd) winograd(op, arena);
        else direct(op, arena);
    }
}

#else

size_t snug_fast_bytes(const snug_net *net) {
    (void)net;
    return 0;
}

void snug_fast_prepare(const snug_net *net, snug_op *ops, void *memory) { (void)net, (void)ops, (void)memory; }

void snug_fast_run(const snug_net *net, int8_t *arena, const uint8_t *image, int64_t *sums) {
    snug_run(net, arena, image, sums);
}
#endif
