/*
 * Records every pass of llama.cpp's model: when it ran, which tokens it fed at which positions, and which experts the
 * router of each layer selected. Loaded before the server (LD_PRELOAD), it stands in for the one function by which
 * llama.cpp computes a graph, and calls it. Only exported functions of ggml are used, and no layout of its structures.
 *
 * MOECAP_GGML names the library that holds ggml, MOECAP_PASSES the file. A record, in the machine's byte order:
 *   int64 start_ns, int64 duration_ns (monotonic clock), int32 tokens, int32 layers,
 *   int32 token[tokens], int32 position[tokens],
 *   and for each layer: int32 layer, int32 rows, int32 k, int32 expert[rows][k].
 * The last layer has rows for those tokens alone whose logits are asked for; the others are not computed there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef bool (*eval_callback)(void *tensor, bool ask, void *data);

static int (*compute)(void *scheduler, void *graph);
static void (*set_callback)(void *scheduler, eval_callback callback, void *data);
static void *(*find_tensor)(const void *graph, const char *name);
static const char *(*name_of)(const void *tensor);
static int64_t (*elements_of)(const void *tensor);
static int64_t (*rows_of)(const void *tensor);
static size_t (*bytes_of)(const void *tensor);
static void (*read_tensor)(const void *tensor, void *data, size_t offset, size_t size);

static FILE *file;
static char *memory; /* the layers of the pass that runs */
static size_t used, room;
static int32_t layers;

static void stop(const char *what, const char *which) {
    fprintf(stderr, "error: the passes cannot be recorded: %s %s\n", what, which);
    fflush(stderr);
    _exit(1);
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) stop("no function", name);
    return found;
}

static void prepare(void) {
    const char *path = getenv("MOECAP_PASSES"), *ggml = getenv("MOECAP_GGML");
    void *library = ggml ? dlopen(ggml, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (!library) stop("not loaded:", ggml ? ggml : "MOECAP_GGML");
    set_callback = symbol(library, "ggml_backend_sched_set_eval_callback");
    find_tensor = symbol(library, "ggml_graph_get_tensor");
    name_of = symbol(library, "ggml_get_name");
    elements_of = symbol(library, "ggml_nelements");
    rows_of = symbol(library, "ggml_nrows");
    bytes_of = symbol(library, "ggml_nbytes");
    read_tensor = symbol(library, "ggml_backend_tensor_get");
    compute = symbol(library, "ggml_backend_sched_graph_compute_async");
    file = path ? fopen(path, "wb") : NULL;
    if (!file) stop("cannot write", path ? path : "MOECAP_PASSES");
}

static char *reserve(size_t bytes) {
    if (used + bytes > room) {
        room = 2 * (used + bytes);
        memory = realloc(memory, room);
        if (!memory) stop("no memory for", "a pass");
    }
    used += bytes;
    return memory + used - bytes;
}

/* ggml asks of each node whether it is wanted, and calls again once a wanted one is computed. */
static bool keep(void *tensor, bool ask, void *data) {
    static const char wanted[] = "ffn_moe_topk-";
    const char *name = name_of(tensor);
    (void)data;
    if (strncmp(name, wanted, sizeof wanted - 1)) return !ask;
    if (ask) return true;
    int32_t rows = (int32_t)rows_of(tensor), k = rows ? (int32_t)(elements_of(tensor) / rows) : 0;
    int32_t head[3] = {atoi(name + sizeof wanted - 1), rows, k};
    size_t row = (size_t)k * sizeof(int32_t);
    size_t stride = rows > 1 ? (bytes_of(tensor) - row) / (size_t)(rows - 1) : row; /* it is a view of all experts */
    memcpy(reserve(sizeof head), head, sizeof head);
    char *ids = reserve((size_t)rows * row);
    for (int32_t i = 0; i < rows; i++) read_tensor(tensor, ids + (size_t)i * row, (size_t)i * stride, row);
    layers++;
    return true;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void put(const void *data, size_t bytes) {
    if (bytes && fwrite(data, bytes, 1, file) != 1) stop("cannot write", "a pass");
}

int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph) {
    if (!compute) prepare();
    void *tokens = find_tensor(graph, "inp_tokens"), *positions = find_tensor(graph, "inp_pos");
    if (!tokens || !positions || elements_of(tokens) != elements_of(positions))
        stop("a graph without", "inp_tokens and inp_pos of one length");
    int32_t count = (int32_t)elements_of(tokens);
    size_t bytes = (size_t)count * sizeof(int32_t);
    used = 0;
    layers = 0;
    char *inputs = reserve(2 * bytes);
    read_tensor(tokens, inputs, 0, bytes); /* the graph may reuse their memory */
    read_tensor(positions, inputs + bytes, 0, bytes);
    set_callback(scheduler, keep, NULL);
    int64_t start = now();
    int status = compute(scheduler, graph);
    int64_t times[2] = {start, now() - start};
    int32_t sizes[2] = {count, layers};
    put(times, sizeof times);
    put(sizes, sizeof sizes);
    put(memory, used);
    if (fflush(file)) stop("cannot write", "a pass");
    return status;
}
