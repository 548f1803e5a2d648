/* mpi_main.c: the program gpuzip-mpi, which compresses and decompresses files with many processes.
 *
 * A file is cut into shares of a few blocks. A rank takes one share after the other. Compressing,
 * each share becomes a frame with an index; a rank keeps its frames in a temporary file, and when
 * all are made, the ranks write them to the target together. The cut depends on the file and the
 * options alone, so the result does, too: it is the same as `gpuzip --part I/N` makes for I = 1 ..
 * N, joined. Decompressing, the place of each share in the target is known before.
 *
 * All ranks call the collective functions in the same order, also after an error: a rank that
 * failed says so in agree(), and then all give up the file.
 */
#include "args.h"
#include "file_io.h"
#include "message.h"
#include "setup.h"
#include "shares.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARE_BLOCKS 4                  /* blocks a share, so that a GPU has some at a time */
#define CHUNK        ((size_t)16 << 20) /* bytes that a rank writes to the target at a time */

/* A share that this rank has made. */
typedef struct {
    int number;
    uint64_t size; /* bytes; they follow those of the share before, in the temporary file */
} made_share;

/* A file on its way: the context of the library's callbacks. */
typedef struct {
    const args *a;
    gpuzip *gz;
    MPI_Comm comm;
    int rank;
    shares shares;
    file_source source;
    file_target target; /* on rank 0 */
    char *path;         /* where the ranks write: the target's temporary name */
    int parts;          /* shares of the file */

    FILE *frames;     /* compressing: this rank's frames */
    made_share *made; /* [count] */
    int count;
    uint64_t *size; /* [parts] bytes of each share, of this rank's at first; 0 for the others' */

    MPI_File out; /* decompressing */
    uint64_t at;  /* where the share's next bytes go */
} job;

/* Whether all ranks say yes. */
static bool agree(MPI_Comm comm, bool yes)
{
    int mine = yes, all;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, comm);
    return all;
}

/* ---- callbacks -------------------------------------------------------------- */

static int on_read(void *context, void *data, size_t size, size_t *got)
{
    return file_read(&((job *)context)->source, data, size, got);
}

static int on_read_at(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    return file_read_at(&((job *)context)->source, offset, data, size, got);
}

static int on_progress(void *context, uint64_t bytes_in, uint64_t bytes_out)
{
    (void)bytes_in;
    (void)bytes_out;
    shares_serve(&((job *)context)->shares);
    return 0;
}

/* Compressing: behind this rank's other frames. */
static int on_frame(void *context, const void *data, size_t size)
{
    job *j = context;
    if (fwrite(data, 1, size, j->frames) == size)
        return 0;
    message_error(j->source.name, "cannot write a temporary file: %s", strerror(errno));
    return 1;
}

/* Decompressing: to the place in the target. */
static int on_content(void *context, const void *data, size_t size)
{
    job *j = context;
    MPI_Status status;
    int written = 0;
    /* A block has at most 16 MiB, so that its size is an int. */
    if (MPI_File_write_at(j->out, (MPI_Offset)j->at, data, (int)size, MPI_BYTE, &status) ==
        MPI_SUCCESS)
        MPI_Get_count(&status, MPI_BYTE, &written);
    j->at += size;
    if ((size_t)written == size)
        return 0;
    message_error(j->source.name, "cannot write the target");
    return 1;
}

/* Reports an error of the library unless a callback or the reader has. */
static bool succeeded(job *j, gpuzip_status status)
{
    if (status != GPUZIP_OK && !(status == GPUZIP_ERR_IO && j->source.failed))
        message_status(j->source.name, status, gpuzip_error(j->gz));
    return status == GPUZIP_OK;
}

/* ---- compressing ------------------------------------------------------------ */

/* Compresses a share to the temporary file. */
static bool make_share(job *j, const gpuzip_options *options, int number)
{
    uint64_t offset, length;
    gpuzip_stats stats;
    const gpuzip_io io = {
        .context = j, .read = on_read, .write = on_frame, .progress = on_progress};
    if (gpuzip_input_part(file_source_size(&j->source), gpuzip_block_size(options), number + 1,
                          j->parts, &offset, &length) != GPUZIP_OK ||
        !file_limit_source(&j->source, offset, length) ||
        !succeeded(j, gpuzip_compress_stream(j->gz, options, &io, &stats)))
        return false;
    j->made[j->count++] = (made_share){number, stats.bytes_out};
    j->size[number] = stats.bytes_out;
    return true;
}

/* Opens a temporary file without a name, beside the target if possible. */
static FILE *open_temporary(const char *target)
{
    const char *slash = strrchr(target, '/');
    char *folder = slash ? strndup(target, (size_t)(slash + 1 - target)) : strdup(".");
    int fd = folder ? open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    free(folder);
    return fd >= 0 ? fdopen(fd, "w+") : tmpfile();
}

/* Copies the next `size` bytes of the temporary file to the place `to`. All ranks call it together,
 * a rank that has no more with size 0. */
static bool write_chunk(job *j, MPI_File out, uint8_t *buffer, size_t size, uint64_t to)
{
    MPI_Status status;
    int written = -1;
    bool read = fread(buffer, 1, size, j->frames) == size;
    if (MPI_File_write_at_all(out, (MPI_Offset)to, buffer, read ? (int)size : 0, MPI_BYTE,
                              &status) == MPI_SUCCESS)
        MPI_Get_count(&status, MPI_BYTE, &written);
    return read && written == (int)size;
}

/* Writes all ranks' frames to their places, together: in each round a rank writes one chunk. */
static bool write_rounds(job *j, MPI_File out, uint8_t *buffer)
{
    uint64_t rounds = 0, all, done = 0;
    bool good = true;
    int i = 0;
    for (int k = 0; k < j->count; k++)
        rounds += (j->made[k].size + CHUNK - 1) / CHUNK;
    MPI_Allreduce(&rounds, &all, 1, MPI_UINT64_T, MPI_MAX, j->comm);
    for (; all > 0; all--) {
        size_t size = 0;
        uint64_t to = 0;
        if (i < j->count) {
            uint64_t left = j->made[i].size - done;
            size = left < CHUNK ? (size_t)left : CHUNK;
            to = j->size[j->made[i].number] + done;
            done += size;
            if (done == j->made[i].size) {
                i++;
                done = 0;
            }
        }
        good &= write_chunk(j, out, buffer, size, to);
    }
    return good;
}

/* Joins the frames of all ranks in the target. */
static bool join_frames(job *j)
{
    MPI_File out;
    uint64_t place = 0;
    uint8_t *buffer = malloc(CHUNK);
    rewind(j->frames);
    MPI_Allreduce(MPI_IN_PLACE, j->size, j->parts, MPI_UINT64_T, MPI_SUM, j->comm);
    for (int i = 0; i < j->parts; i++) { /* sizes become places */
        uint64_t size = j->size[i];
        j->size[i] = place;
        place += size;
    }
    bool good =
        MPI_File_open(j->comm, j->path, MPI_MODE_WRONLY, MPI_INFO_NULL, &out) == MPI_SUCCESS;
    if (!agree(j->comm, good && buffer && fflush(j->frames) == 0)) {
        message_error(j->source.name, "cannot write the target");
        good = false;
    } else {
        good = write_rounds(j, out, buffer);
        good &= MPI_File_close(&out) == MPI_SUCCESS;
        if (!good)
            message_error(j->source.name, "cannot write the target");
    }
    free(buffer);
    return good;
}

/* Cuts a file of so many blocks into shares. */
static void cut(job *j, uint64_t blocks)
{
    uint64_t parts = blocks / SHARE_BLOCKS + (blocks % SHARE_BLOCKS > 0);
    if (parts > GPUZIP_MAX_PARTS)
        parts = GPUZIP_MAX_PARTS;
    j->parts = parts > 0 ? (int)parts : 1;
    shares_begin(&j->shares, j->comm, j->parts);
}

static bool compress(job *j)
{
    gpuzip_options options;
    setup_options(&options, j->a);
    options.index = GPUZIP_INDEX_ALWAYS;
    size_t block_size = gpuzip_block_size(&options);
    uint64_t size = file_source_size(&j->source);
    cut(j, size / block_size + (size % block_size > 0));
    j->made = calloc((size_t)j->parts, sizeof *j->made);
    j->size = calloc((size_t)j->parts, sizeof *j->size);
    j->frames = open_temporary(j->path);
    bool good = j->made && j->size && j->frames;
    if (!good)
        message_error(j->source.name, "%s", strerror(errno));
    for (int number; (number = shares_next(&j->shares, !good)) >= 0;)
        good = make_share(j, &options, number);
    good = agree(j->comm, good) && join_frames(j);
    if (j->frames)
        fclose(j->frames);
    free(j->made);
    free(j->size);
    return good;
}

/* ---- decompressing ---------------------------------------------------------- */

static bool restore_share(job *j, gpuzip_archive *archive, int number)
{
    uint64_t length;
    const gpuzip_io io = {.context = j, .write = on_content, .progress = on_progress};
    return gpuzip_archive_part(archive, number + 1, j->parts, &j->at, &length) == GPUZIP_OK &&
           succeeded(j, gpuzip_archive_extract(j->gz, archive, j->at, length, &io, NULL));
}

static bool decompress(job *j)
{
    gpuzip_archive *archive = NULL;
    const gpuzip_source source = {
        .context = j, .read_at = on_read_at, .size = file_source_size(&j->source)};
    bool good = succeeded(j, gpuzip_archive_open(&archive, j->gz, &source));
    if (agree(j->comm, good)) {
        good =
            MPI_File_open(j->comm, j->path, MPI_MODE_WRONLY, MPI_INFO_NULL, &j->out) == MPI_SUCCESS;
        if (!good)
            message_error(j->source.name, "cannot write the target");
        bool opened = agree(j->comm, good);
        good = opened;
        cut(j, gpuzip_archive_blocks(archive));
        for (int number; (number = shares_next(&j->shares, !good)) >= 0;)
            good = restore_share(j, archive, number);
        if (opened)
            good &= MPI_File_close(&j->out) == MPI_SUCCESS;
    } else {
        good = false;
    }
    gpuzip_archive_close(archive);
    return good;
}

/* ---- files ------------------------------------------------------------------ */

/* The target's name; NULL after a message. The caller frees it. */
static char *name_target(const args *a, const char *path)
{
    char *name = NULL;
    int size = -1;
    if (a->output)
        size = asprintf(&name, "%s", a->output);
    else if (a->mode == MODE_COMPRESS)
        size = asprintf(&name, "%s%s", path, a->suffix);
    else if (args_has_suffix(a, path))
        size = asprintf(&name, "%.*s", (int)(strlen(path) - strlen(a->suffix)), path);
    else
        message_warning(path, "lacks the suffix %s, skipped", a->suffix);
    return size < 0 ? NULL : name;
}

/* On rank 0: begins the target. Tells all ranks its temporary name in j->path. */
static bool open_target(job *j, const char *name)
{
    int length = -1;
    if (j->rank == 0 && file_open_target(&j->target, name, j->a->force, &j->source)) {
        if (j->target.temporary) {
            length = (int)strlen(j->target.temporary);
        } else {
            message_error(name, "is not a regular file");
            file_discard_target(&j->target);
        }
    }
    MPI_Bcast(&length, 1, MPI_INT, 0, j->comm);
    if (length < 0)
        return false;
    j->path = calloc((size_t)length + 1, 1);
    if (!j->path)
        MPI_Abort(j->comm, EXIT_CODE_ERROR); /* for a few bytes; no rank may wait for this one */
    if (j->rank == 0)
        memcpy(j->path, j->target.temporary, (size_t)length);
    MPI_Bcast(j->path, length, MPI_CHAR, 0, j->comm);
    return true;
}

static void code(job *j, const char *path)
{
    char *name = name_target(j->a, path);
    bool opened = name && file_open_source(&j->source, path,
                                           j->a->force ? FILE_THROUGH_LINKS : FILE_REGULAR_ONLY);
    if (opened && !file_is_seekable(&j->source)) {
        message_error(path, "is not a regular file");
        file_close_source(&j->source);
        opened = false;
    }
    if (agree(j->comm, opened) && open_target(j, name)) {
        bool good = j->a->mode == MODE_COMPRESS ? compress(j) : decompress(j);
        good = agree(j->comm, good);
        if (j->rank == 0 && good) {
            file_commit_target(&j->target, &j->source, NULL);
            file_source_unchanged(&j->source);
        } else if (j->rank == 0) {
            file_discard_target(&j->target);
        }
        free(j->path);
        j->path = NULL;
    }
    if (opened)
        file_close_source(&j->source);
    free(name);
}

/* ---- the program -------------------------------------------------------------- */

/* Refuses options that only gpuzip has. Returns false after an error message. */
static bool check(const args *a)
{
    const char *wrong = NULL;
    if (a->mode != MODE_COMPRESS && a->mode != MODE_DECOMPRESS)
        wrong = "gpuzip-mpi compresses, or with -d decompresses";
    else if (a->to_stdout || a->recursive || a->remove_source || a->folder || args_takes_part(a) ||
             a->stats || a->json)
        wrong =
            "gpuzip-mpi does not take -c, -r, --rm, --output-dir-flat, --range, --part, --stats "
            "or --json";
    for (int i = 0; !wrong && i < a->files; i++)
        if (strcmp(a->file[i], "-") == 0)
            wrong = "gpuzip-mpi needs the names of regular files";
    if (wrong)
        message_error(NULL, "%s", wrong);
    return !wrong;
}

/* A device and threads for this rank: the ranks of a node share its GPUs and processors. Rank r of
 * a node takes its GPU r. */
static void choose_device(args *a, char name[32])
{
    MPI_Comm node;
    int rank, ranks, gpus = gpuzip_count_devices() - 1;
    cpu_set_t processors;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &ranks);
    MPI_Comm_free(&node);
    if (!a->device && !getenv("GPUZIP_DEVICE") && gpus > 0) {
        snprintf(name, 32, "cuda:%d", rank % gpus);
        a->device = name;
    }
    /* Where the launcher bound the rank to some processors, these are its own. */
    if (a->threads == 0 && sched_getaffinity(0, sizeof processors, &processors) == 0) {
        int own = CPU_COUNT(&processors), all = (int)sysconf(_SC_NPROCESSORS_ONLN);
        int threads = own < all ? own : all / ranks;
        a->threads = threads < 1 ? 1 : threads;
    }
}

static void run(int argc, char **argv)
{
    args a;
    char device[32];
    int rank;
    gpuzip *gz = NULL;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank > 0) /* one rank tells what is wrong with the command line */
        message_set_verbosity(VERBOSITY_SILENT);
    bool good = args_parse(&a, argc, argv) == ARGS_RUN && check(&a);
    if (!agree(MPI_COMM_WORLD, good))
        return;
    if (rank > 0)
        message_set_verbosity(VERBOSITY_ERRORS);
    choose_device(&a, device);
    good = setup_open(&gz, &a);
    if (agree(MPI_COMM_WORLD, good)) {
        job *j = calloc(1, sizeof *j); /* a source has a buffer of 64 KB */
        if (!j)
            MPI_Abort(MPI_COMM_WORLD, EXIT_CODE_ERROR);
        for (int i = 0; i < a.files; i++) {
            *j = (job){.a = &a, .gz = gz, .comm = MPI_COMM_WORLD, .rank = rank};
            code(j, a.file[i]);
        }
        free(j);
    }
    if (good)
        gpuzip_close(gz);
}

int main(int argc, char **argv)
{
    static char name[32] = "gpuzip-mpi";
    int rank = 0, code, worst;
    if (!file_begin() || MPI_Init(&argc, &argv) != MPI_SUCCESS)
        return EXIT_CODE_ERROR;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(name, sizeof name, "gpuzip-mpi[%d]", rank);
    message_begin(name);
    signals_begin();
    run(argc, argv);
    code = (int)message_end();
    MPI_Allreduce(&code, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return rank == 0 ? worst : code;
}
