/* Classifies raw images from standard input. A line for each: the number of its class, then the sums, then the logits.
 *
 *     gcc -std=c99 -O2 -o net main.c snug.c
 *     ./net < images.raw
 */
#include "net.h"

#include <stdio.h>

int main(void) {
    static uint8_t image[SNUG_IMAGE_BYTES];
    static int64_t sums[SNUG_CLASSES];
    static float logits[SNUG_CLASSES];
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        int i, best = 0;
        snug_net_sums(image, sums);
        snug_logits(&snug_this, sums, logits);
        for (i = 1; i < SNUG_CLASSES; i++)
            if (logits[i] > logits[best]) best = i;
        printf("%d", best);
        for (i = 0; i < SNUG_CLASSES; i++) printf(" %lld", (long long)sums[i]);
        for (i = 0; i < SNUG_CLASSES; i++) printf(" %.9g", (double)logits[i]);
        printf("\n");
    }
    return 0;
}
