/* range.c: the range coder's decoder (coder/FORMAT.md, section 6). */
#include "reference.h"

static uint8_t range_byte(range_decoder *d)
{
    uint8_t byte = d->at < d->end ? *d->at : 0;
    d->at++;
    d->last = d->last << 8 | byte;
    return byte;
}

void range_begin(range_decoder *d, const uint8_t *data, uint64_t size)
{
    *d = (range_decoder){.at = data, .end = data + size, .range = UINT64_MAX};
    for (int i = 0; i < 8; i++)
        d->code = d->code << 8 | range_byte(d);
    if (d->code == UINT64_MAX || (size > 0 && data[size - 1] == 0))
        fail("a corrupt stream");
}

uint32_t range_target(range_decoder *d)
{
    const uint64_t most = ((uint64_t)1 << 30) - 1;
    d->unit = d->range >> 30;
    return (uint32_t)(d->code / d->unit < most ? d->code / d->unit : most);
}

void range_narrow(range_decoder *d, uint64_t start, uint64_t freq)
{
    d->code -= d->unit * start;
    d->range = start + freq == 1 << 30 ? d->range - d->unit * start : d->unit * freq;
    while (d->range < (uint64_t)1 << 56) {
        d->code = d->code << 8 | range_byte(d);
        d->range <<= 8;
    }
}

void range_end(const range_decoder *d)
{
    uint64_t low = d->last - d->code, e = 0 - low;
    if (e >= d->range)
        e = (0 - low) & (((uint64_t)1 << 56) - 1);
    if (d->code != e || d->at < d->end)
        fail("a stream does not end with its tokens");
}
