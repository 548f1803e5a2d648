/* peek.c: an archive's description, from its headers alone. */
#include <stdlib.h>
#include <string.h>

#include "archive_input.h"

static void list_frame(const gpuzip *gz, const container_frame *frame, gpuzip_info *info)
{
    for (int k = 0; k < frame->experts; k++) {
        if (frame->expert[k].kind == CONTAINER_EXPERT_MODEL &&
            !session_find_model(gz, frame->expert[k].model_id, CONTAINER_MODEL_BYTES))
            info->model_known = false;
    }
    info->frames += !frame->is_index;
    if (info->version)
        return;
    info->version = CONTAINER_VERSION;
    info->window = frame->schedule.window;
    info->hop = frame->schedule.hop;
    info->update_interval = frame->schedule.update_interval;
    info->window_scope = frame->schedule.window_scope;
    info->contexts = frame->contexts;
    info->biases = frame->biases;
    info->learn_alphas = frame->learns_alphas;
    info->learn_weights = frame->learns_weights;
    info->experts = frame->experts;
    for (int k = 0; k < frame->experts; k++) {
        info->expert[k].kind = (gpuzip_expert_kind)frame->expert[k].kind;
        info->expert[k].alpha = frame->expert[k].alpha / (double)CONTAINER_ALPHA_ONE;
        memcpy(info->expert[k].model_id, frame->expert[k].model_id, CONTAINER_MODEL_BYTES);
    }
}

/* Reads the number of streams from the first coded block; a damaged block is no error here. */
static gpuzip_status list_streams(archive_input *in, size_t size, gpuzip_info *info)
{
    container_block read;
    TRY(archive_fill(in, size));
    if (container_read_block(&read, in->data + in->first, archive_have(in, size)) == GPUZIP_OK)
        info->streams = (int)read.streams;
    return GPUZIP_OK;
}

/* Bytes of the input that were used. */
static uint64_t used_bytes(const archive_input *in)
{
    return in->bytes_in - (in->end - in->first);
}

static gpuzip_status list_blocks(archive_input *in, gpuzip_info *info)
{
    container_prefix prefix;
    container_end end;
    uint64_t size = 0;
    for (;;) {
        TRY(archive_prefix(in, &prefix));
        if (prefix.kind == CONTAINER_END)
            break;
        if (!info->blocks)
            info->block_size = prefix.raw_size;
        if (!info->streams && prefix.kind == CONTAINER_CODED)
            TRY(list_streams(in, prefix.size, info));
        TRY(archive_skip(in, prefix.size));
        size += prefix.raw_size;
        info->blocks++;
        info->stored_blocks += prefix.kind == CONTAINER_STORED;
        info->packed_blocks += prefix.kind == CONTAINER_PACKED;
    }
    TRY(archive_end(in, prefix.size, &end));
    if (end.raw_size != size)
        return FAIL(GPUZIP_ERR_CORRUPT);
    info->size += size;
    return GPUZIP_OK;
}

gpuzip_status gpuzip_peek(gpuzip *gz, const gpuzip_io *io, gpuzip_info *info)
{
    gpuzip_status status = GPUZIP_OK;
    gpuzip_info listed = {.model_known = true};
    container_frame frame;
    bool more;
    archive_input in = {.io = io};
    gz->error[0] = '\0';
    do {
        uint64_t begin = used_bytes(&in);
        TRY_OUT(archive_frame(gz, &in, &frame));
        list_frame(gz, &frame, &listed);
        TRY_OUT(list_blocks(&in, &listed));
        if (frame.is_index)
            listed.index_size += used_bytes(&in) - begin;
        TRY_OUT(archive_more(&in, &more));
    } while (more);
    listed.compressed_size = in.bytes_in;
    *info = listed;
out:
    free(in.data);
    return archive_fail(gz, status, listed.frames);
}
