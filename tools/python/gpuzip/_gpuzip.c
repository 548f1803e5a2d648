/* _gpuzip.c: sessions of libgpuzip for Python, in the stable ABI of Python 3.9. The package's
 * Python files hold everything that needs no call of gpuzip.h.
 *
 * A session's calls release the GIL; callbacks take it again. Names end in _py where they are
 * methods. Buffers of the stable ABI begin with Python 3.11, so all data are `bytes` here.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03090000
#include <Python.h>

#include <gpuzip.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* gpuzip.GpuzipError. One a process: PyGILState_Ensure() knows one interpreter only. */
static PyObject *error_type;

/* Raises GpuzipError with the text, or the status's name if the text is empty. Returns NULL. */
static PyObject *raise_status(gpuzip_status status, const char *text)
{
    const char *shown = text && text[0] ? text : gpuzip_status_name(status);
    PyObject *message = PyUnicode_DecodeUTF8(shown, (Py_ssize_t)strlen(shown), "replace");
    PyObject *error = message ? PyObject_CallFunctionObjArgs(error_type, message, NULL) : NULL;
    PyObject *number = error ? PyLong_FromLong(status) : NULL;
    if (number && PyObject_SetAttrString(error, "status", number) == 0)
        PyErr_SetObject(error_type, error);
    Py_XDECREF(number);
    Py_XDECREF(error);
    Py_XDECREF(message);
    return NULL;
}

/* ---- a call's input and output ------------------------------------------- */

/* Bytes come from src or from the function read(size), and go to dst or to the function
 * write(data). */
typedef struct {
    PyObject *read, *write; /* borrowed; NULL: memory */
    PyObject *cancelled;    /* borrowed; a function that returns true to cancel; NULL: none */
    const char *src;        /* [src_size], of which src_used are read */
    size_t src_size, src_used;
    char *dst; /* [capacity], malloc(), of which dst_size are written */
    size_t dst_size, capacity;
    int no_memory;                      /* for dst */
    PyObject *type, *value, *traceback; /* the exception of a callback; owned */
} exchange;

/* Keeps the exception that is set, unless an earlier one is kept. Returns 1. */
static int keep_exception(exchange *x)
{
    if (x->type)
        PyErr_Clear();
    else
        PyErr_Fetch(&x->type, &x->value, &x->traceback);
    return 1;
}

static int read_memory(void *context, void *data, size_t size, size_t *got)
{
    exchange *x = context;
    size_t left = x->src_size - x->src_used;
    *got = size < left ? size : left;
    if (*got)
        memcpy(data, x->src + x->src_used, *got);
    x->src_used += *got;
    return 0;
}

/* Doubles dst, so that all copies together cost as much as the last. */
static int write_memory(void *context, const void *data, size_t size)
{
    exchange *x = context;
    if (size > x->capacity - x->dst_size) {
        size_t capacity =
            2 * x->capacity > x->dst_size + size ? 2 * x->capacity : x->dst_size + size;
        char *grown = realloc(x->dst, capacity);
        x->no_memory = !grown;
        if (!grown)
            return 1;
        x->dst = grown;
        x->capacity = capacity;
    }
    if (size)
        memcpy(x->dst + x->dst_size, data, size);
    x->dst_size += size;
    return 0;
}

/* Takes the result of a function that reads, NULL after an exception. Returns 1 on failure. */
static int take_result(exchange *x, PyObject *bytes, void *data, size_t size, size_t *got)
{
    char *src;
    Py_ssize_t length;
    int failed = !bytes || PyBytes_AsStringAndSize(bytes, &src, &length) != 0;
    if (!failed && (size_t)length > size) {
        PyErr_SetString(PyExc_ValueError, "read() returned more bytes than were asked for");
        failed = 1;
    }
    if (failed) {
        keep_exception(x);
    } else {
        memcpy(data, src, (size_t)length);
        *got = (size_t)length;
    }
    Py_XDECREF(bytes);
    return failed;
}

static int read_python(void *context, void *data, size_t size, size_t *got)
{
    exchange *x = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *bytes = PyObject_CallFunction(x->read, "n", (Py_ssize_t)size);
    int failed = take_result(x, bytes, data, size, got);
    PyGILState_Release(gil);
    return failed;
}

static int write_python(void *context, const void *data, size_t size)
{
    exchange *x = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *result = PyObject_CallFunction(x->write, "y#", data, (Py_ssize_t)size);
    int failed = result ? 0 : keep_exception(x);
    Py_XDECREF(result);
    PyGILState_Release(gil);
    return failed;
}

/* Runs signal handlers (Ctrl-C), which Python does in the main thread alone, and asks
 * x->cancelled(). */
static int on_progress(void *context, uint64_t bytes_in, uint64_t bytes_out)
{
    exchange *x = context;
    (void)bytes_in;
    (void)bytes_out;
    PyGILState_STATE gil = PyGILState_Ensure();
    int stop = PyErr_CheckSignals() != 0;
    if (!stop && x->cancelled) {
        PyObject *result = PyObject_CallFunctionObjArgs(x->cancelled, NULL);
        stop = result ? PyObject_IsTrue(result) : -1;
        Py_XDECREF(result);
    }
    if (PyErr_Occurred())
        keep_exception(x);
    PyGILState_Release(gil);
    return stop != 0;
}

/* ---- sessions ------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD gpuzip *gz;
    pid_t process; /* that opened it: its threads and GPUs are not in a fork */
    int busy;      /* a call is under way; guarded by the GIL */
} session;

static void on_note(void *context, gpuzip_note kind, const char *text)
{
    (void)context;
    if (kind != GPUZIP_NOTE_WARNING)
        return;
    PyGILState_STATE gil = PyGILState_Ensure();
    if (PyErr_WarnEx(PyExc_RuntimeWarning, text, 1) != 0)
        PyErr_WriteUnraisable(NULL); /* warnings are errors: none can be raised from here */
    PyGILState_Release(gil);
}

/* Adds the models of a tuple of bytes and None (the built-in one). Returns 0, or -1 with an
 * exception. */
static int add_models(session *self, PyObject *models)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(models); i++) {
        PyObject *model = PyTuple_GetItem(models, i);
        const char *source = NULL;
        if (model != Py_None) {
            source = PyBytes_AsString(model);
            if (!source)
                return -1;
        }
        gpuzip_status status;
        Py_BEGIN_ALLOW_THREADS status = gpuzip_add_model(self->gz, source, NULL);
        Py_END_ALLOW_THREADS if (status != GPUZIP_OK)
        {
            raise_status(status, gpuzip_error(self->gz));
            return -1;
        }
    }
    return 0;
}

/* Session(device: bytes | None, threads: int, memory_limit: int, models: tuple); memory_limit < 0:
 * the library's. */
static PyObject *session_new_py(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    const char *device;
    int threads;
    long long memory_limit;
    PyObject *models;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "ziLO!:Session", &device, &threads, &memory_limit, &PyTuple_Type,
                          &models))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    session *self = (session *)alloc(type, 0);
    if (!self)
        return NULL;
    char error[GPUZIP_ERROR_BYTES] = "";
    gpuzip_status status;
    Py_BEGIN_ALLOW_THREADS status = gpuzip_open(&self->gz, device, threads, error);
    Py_END_ALLOW_THREADS if (status != GPUZIP_OK)
    {
        self->gz = NULL;
        raise_status(status, error);
        goto fail;
    }
    self->process = getpid();
    gpuzip_set_notes(self->gz, on_note, NULL);
    if (memory_limit >= 0)
        gpuzip_set_memory_limit(self->gz, (uint64_t)memory_limit);
    if (add_models(self, models) == 0)
        return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

static void session_dealloc_py(PyObject *object)
{
    session *self = (session *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (self->gz && self->process == getpid())
        gpuzip_close(self->gz);
    release(self);
    Py_DECREF(type);
}

/* Reads a tuple of experts, each (model's index, or -1 for Naive Bayes; alpha). Returns 0, or -1
 * with an exception. */
static int read_experts(PyObject *experts, gpuzip_options *options)
{
    Py_ssize_t count = PyTuple_Size(experts);
    if (count > GPUZIP_MAX_EXPERTS) {
        PyErr_Format(PyExc_ValueError, "more than %d experts", GPUZIP_MAX_EXPERTS);
        return -1;
    }
    options->experts = (int)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        gpuzip_expert *expert = &options->expert[i];
        int model;
        if (!PyArg_ParseTuple(PyTuple_GetItem(experts, i), "id", &model, &expert->alpha))
            return -1;
        expert->kind = model < 0 ? GPUZIP_EXPERT_NAIVE_BAYES : GPUZIP_EXPERT_MODEL;
        expert->model = model < 0 ? 0 : model;
    }
    return 0;
}

/* Reads the tuple that _session.py makes. Returns 0, or -1 with an exception. */
static int read_options(PyObject *tuple, gpuzip_options *options)
{
    int window_scope, fit_alphas, no_verify, no_packing, index;
    Py_ssize_t block_size;
    PyObject *experts;
    gpuzip_init_options(options);
    if (!PyArg_ParseTuple(tuple, "iiiiipInpppiO!:options", &options->level, &options->window,
                          &options->hop, &options->streams, &options->update_interval,
                          &window_scope, &options->adapt, &block_size, &fit_alphas, &no_verify,
                          &no_packing, &index, &PyTuple_Type, &experts))
        return -1;
    if (block_size < 0 || (size_t)block_size > GPUZIP_BLOCK_MAX) {
        PyErr_SetString(PyExc_ValueError, "block_size is not in 0 .. 16 MiB");
        return -1;
    }
    options->window_scope = window_scope;
    options->block_size = (size_t)block_size;
    options->fit_alphas = fit_alphas;
    options->no_verify = no_verify;
    options->no_packing = no_packing;
    options->index = (gpuzip_index)index;
    return read_experts(experts, options);
}

/* Compresses, or decompresses if options is NULL. Returns bytes if x has no write(), else None;
 * NULL with an exception. */
static PyObject *code(session *self, const gpuzip_options *options, exchange *x)
{
    const gpuzip_io io = {.context = x,
                          .read = x->read ? read_python : read_memory,
                          .write = x->write ? write_python : write_memory,
                          .progress = on_progress};
    PyObject *result = NULL;
    gpuzip_status status;
    if (self->busy || self->process != getpid()) {
        PyErr_SetString(PyExc_RuntimeError, "this session is in use by another thread or process");
        return NULL;
    }
    self->busy = 1;
    Py_BEGIN_ALLOW_THREADS status = options ? gpuzip_compress_stream(self->gz, options, &io, NULL)
                                            : gpuzip_decompress_stream(self->gz, &io, NULL);
    Py_END_ALLOW_THREADS self->busy = 0;
    if (x->type)
        PyErr_Restore(x->type, x->value, x->traceback);
    else if (x->no_memory)
        PyErr_NoMemory();
    else if (status != GPUZIP_OK)
        raise_status(status, gpuzip_error(self->gz));
    else if (x->write)
        Py_INCREF(result = Py_None); /* Py_NewRef() begins with Python 3.10 */
    else
        result = PyBytes_FromStringAndSize(x->dst, (Py_ssize_t)x->dst_size);
    free(x->dst);
    return result;
}

/* compress(options: tuple, data: bytes) -> bytes */
static PyObject *session_compress_py(PyObject *self, PyObject *args)
{
    exchange x = {0};
    gpuzip_options options;
    PyObject *tuple;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "O!y#:compress", &PyTuple_Type, &tuple, &x.src, &size) ||
        read_options(tuple, &options) != 0)
        return NULL;
    x.src_size = (size_t)size;
    return code((session *)self, &options, &x);
}

/* decompress(data: bytes) -> bytes */
static PyObject *session_decompress_py(PyObject *self, PyObject *args)
{
    exchange x = {0};
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#:decompress", &x.src, &size))
        return NULL;
    x.src_size = (size_t)size;
    return code((session *)self, NULL, &x);
}

/* compress_stream(options: tuple, read(size) -> bytes, write(bytes), cancelled() -> bool) */
static PyObject *session_compress_stream_py(PyObject *self, PyObject *args)
{
    exchange x = {0};
    gpuzip_options options;
    PyObject *tuple;
    if (!PyArg_ParseTuple(args, "O!OOO:compress_stream", &PyTuple_Type, &tuple, &x.read, &x.write,
                          &x.cancelled) ||
        read_options(tuple, &options) != 0)
        return NULL;
    return code((session *)self, &options, &x);
}

/* decompress_stream(read(size) -> bytes, write(bytes), cancelled() -> bool) */
static PyObject *session_decompress_stream_py(PyObject *self, PyObject *args)
{
    exchange x = {0};
    if (!PyArg_ParseTuple(args, "OOO:decompress_stream", &x.read, &x.write, &x.cancelled))
        return NULL;
    return code((session *)self, NULL, &x);
}

static PyMethodDef session_methods[] = {
    {"compress", session_compress_py, METH_VARARGS, NULL},
    {"decompress", session_decompress_py, METH_VARARGS, NULL},
    {"compress_stream", session_compress_stream_py, METH_VARARGS, NULL},
    {"decompress_stream", session_decompress_stream_py, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot session_slots[] = {{Py_tp_new, session_new_py},
                                      {Py_tp_dealloc, session_dealloc_py},
                                      {Py_tp_methods, session_methods},
                                      {0, NULL}};

static PyType_Spec session_spec = {.name = "gpuzip._gpuzip.Session",
                                   .basicsize = sizeof(session),
                                   .flags = Py_TPFLAGS_DEFAULT,
                                   .slots = session_slots};

/* ---- archives in any order -------------------------------------------------- */

typedef struct {
    PyObject_HEAD gpuzip_archive *archive;
    PyObject *read_at; /* read_at(offset, size) -> bytes */
    exchange *x;       /* of the call under way: keeps the exception of read_at() */
    int busy;          /* a call is under way; guarded by the GIL */
} archive;

static int read_at_python(void *context, uint64_t offset, void *data, size_t size, size_t *got)
{
    archive *self = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *bytes =
        PyObject_CallFunction(self->read_at, "Kn", (unsigned long long)offset, (Py_ssize_t)size);
    int failed = take_result(self->x, bytes, data, size, got);
    PyGILState_Release(gil);
    return failed;
}

/* Begins a call of the archive with a session. Returns 0, or -1 with an exception. */
static int begin_call(archive *self, session *with, exchange *x)
{
    if (self->busy || with->busy || with->process != getpid()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this archive or session is in use by another thread or process");
        return -1;
    }
    self->busy = with->busy = 1;
    self->x = x;
    return 0;
}

/* Ends it. Returns 0, or -1 with an exception. */
static int end_call(archive *self, session *with, exchange *x, gpuzip_status status)
{
    self->busy = with->busy = 0;
    self->x = NULL;
    if (x->type)
        PyErr_Restore(x->type, x->value, x->traceback);
    else if (status != GPUZIP_OK)
        raise_status(status, gpuzip_error(with->gz));
    else
        return 0;
    return -1;
}

static PyObject *session_type; /* of the module */

/* Archive(session, read_at, size) */
static PyObject *archive_new_py(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *with, *read_at;
    unsigned long long size;
    exchange x = {0};
    (void)keywords;
    if (!PyArg_ParseTuple(args, "O!OK:Archive", session_type, &with, &read_at, &size))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    archive *self = (archive *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(self->read_at = read_at);
    if (begin_call(self, (session *)with, &x) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    const gpuzip_source source = {.context = self, .read_at = read_at_python, .size = size};
    gpuzip_status status;
    Py_BEGIN_ALLOW_THREADS status =
        gpuzip_archive_open(&self->archive, ((session *)with)->gz, &source);
    Py_END_ALLOW_THREADS if (status != GPUZIP_OK) self->archive = NULL;
    if (end_call(self, (session *)with, &x, status) == 0)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static void archive_dealloc_py(PyObject *object)
{
    archive *self = (archive *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    gpuzip_archive_close(self->archive);
    Py_XDECREF(self->read_at);
    release(self);
    Py_DECREF(type);
}

/* read(session, offset: int, size: int) -> bytes; fewer only at the end */
static PyObject *archive_read_py(PyObject *object, PyObject *args)
{
    archive *self = (archive *)object;
    PyObject *with;
    unsigned long long offset;
    Py_ssize_t size;
    exchange x = {0};
    if (!PyArg_ParseTuple(args, "O!Kn:read", session_type, &with, &offset, &size))
        return NULL;
    uint64_t whole = gpuzip_archive_size(self->archive), left = offset < whole ? whole - offset : 0;
    if (size < 0 || (uint64_t)size > left)
        size = (Py_ssize_t)left;
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    if (!result || begin_call(self, (session *)with, &x) != 0) {
        Py_XDECREF(result);
        return NULL;
    }
    char *dst = PyBytes_AsString(result);
    gpuzip_status status;
    size_t got = 0;
    Py_BEGIN_ALLOW_THREADS status =
        gpuzip_archive_read(((session *)with)->gz, self->archive, offset, dst, (size_t)size, &got);
    Py_END_ALLOW_THREADS if (end_call(self, (session *)with, &x, status) != 0)
    {
        Py_DECREF(result);
        return NULL;
    }
    return result; /* got == size: the range is within the content */
}

/* blocks() -> list of (kind, frame, offset, size, content offset, content size) */
static PyObject *archive_blocks_py(PyObject *object, PyObject *unused)
{
    const gpuzip_archive *a = ((archive *)object)->archive;
    PyObject *list = PyList_New(0);
    gpuzip_block b;
    (void)unused;
    for (uint64_t i = 0; list && gpuzip_archive_block(a, i, &b) == GPUZIP_OK; i++) {
        PyObject *item =
            Py_BuildValue("iKKkKk", (int)b.kind, (unsigned long long)b.frame,
                          (unsigned long long)b.offset, (unsigned long)b.size,
                          (unsigned long long)b.content_offset, (unsigned long)b.content_size);
        if (!item || PyList_Append(list, item) != 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(item);
    }
    return list;
}

static PyMethodDef archive_methods[] = {{"read", archive_read_py, METH_VARARGS, NULL},
                                        {"blocks", archive_blocks_py, METH_NOARGS, NULL},
                                        {NULL, NULL, 0, NULL}};

static PyType_Slot archive_slots[] = {{Py_tp_new, archive_new_py},
                                      {Py_tp_dealloc, archive_dealloc_py},
                                      {Py_tp_methods, archive_methods},
                                      {0, NULL}};

static PyType_Spec archive_spec = {.name = "gpuzip._gpuzip.Archive",
                                   .basicsize = sizeof(archive),
                                   .flags = Py_TPFLAGS_DEFAULT,
                                   .slots = archive_slots};

/* ---- the module ------------------------------------------------------------ */

/* content_size(data: bytes) -> int */
static PyObject *content_size_py(PyObject *module, PyObject *args)
{
    const char *src;
    Py_ssize_t src_size;
    uint64_t size;
    gpuzip_status status;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#:content_size", &src, &src_size))
        return NULL;
    Py_BEGIN_ALLOW_THREADS status = gpuzip_content_size(src, (size_t)src_size, &size);
    Py_END_ALLOW_THREADS return status == GPUZIP_OK ? PyLong_FromUnsignedLongLong(size)
                                                    : raise_status(status, NULL);
}

static PyObject *backends_py(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(gpuzip_backends());
}

static PyMethodDef functions[] = {{"content_size", content_size_py, METH_VARARGS, NULL},
                                  {"backends", backends_py, METH_NOARGS, NULL},
                                  {NULL, NULL, 0, NULL}};

static PyModuleDef module_definition = {PyModuleDef_HEAD_INIT, .m_name = "gpuzip._gpuzip",
                                        .m_size = -1, .m_methods = functions};

/* Adds `object`, whose reference it takes, to the module. */
static int add_object(PyObject *module, const char *name, PyObject *object)
{
    if (object && PyModule_AddObject(module, name, object) == 0)
        return 0;
    Py_XDECREF(object);
    return -1;
}

PyMODINIT_FUNC PyInit__gpuzip(void)
{
    PyObject *module = PyModule_Create(&module_definition);
    if (!module)
        return NULL;
    if (!error_type)
        error_type = PyErr_NewExceptionWithDoc(
            "gpuzip.GpuzipError",
            "libgpuzip's message for data or settings that it refuses; `status` is a Status.", NULL,
            NULL);
    Py_XINCREF(error_type);
    if (!session_type)
        session_type = PyType_FromSpec(&session_spec);
    Py_XINCREF(session_type);
    if (add_object(module, "GpuzipError", error_type) != 0 ||
        add_object(module, "Session", session_type) != 0 ||
        add_object(module, "Archive", PyType_FromSpec(&archive_spec)) != 0 ||
        PyModule_AddStringConstant(module, "library_version", gpuzip_version()) != 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
