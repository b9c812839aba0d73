/* proc.c - see proc.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proc.h"

static void on_closed(uv_handle_t *handle)
{
	struct proc *proc = handle->data;
	if (--proc->open == 0)
		proc->running = false;
}

static void on_exit_seen(uv_process_t *handle, int64_t status, int signal)
{
	struct proc *proc = handle->data;
	proc->status = signal != 0 ? 128 + signal : (int)status;
	uv_close((uv_handle_t *)handle, on_closed);
}

static struct proc_buf *buf_of(struct proc *proc, const void *pipe)
{
	return pipe == (const void *)&proc->pipes[0] ? &proc->out : &proc->errors;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct proc_buf *b = buf_of(handle->data, handle);
	(void)suggested;
	if (b->cap - b->len < 4096) {
		b->cap = b->cap > 0 ? b->cap * 2 : 8192;
		b->text = xrealloc(b->text, b->cap + 1);
	}
	*ret = uv_buf_init(b->text + b->len, (unsigned)(b->cap - b->len));
}

/* Hands on the whole lines; at_end also what has no line end. */
static void hand_on(struct proc *proc, struct proc_buf *b, bool at_end)
{
	while (b->text != NULL && b->line_start < b->len) {
		char *line = b->text + b->line_start;
		char *end = memchr(line, '\n', b->len - b->line_start);
		if (end == NULL && !at_end)
			return;
		size_t len = end != NULL ? (size_t)(end - line) : b->len - b->line_start;
		b->line_start += len + (end != NULL ? 1 : 0);
		cleanup_free char *copy = xstrndup(line, len);
		proc->on_line(proc->arg, copy);
	}
}

/* Too much is not kept: the older half goes (nothing is lost of what was handed on). */
static void bound(struct proc_buf *b)
{
	if (b->len <= PROC_OUTPUT_MAX)
		return;
	size_t drop = b->len / 2;
	assert(b->text != NULL);
	memmove(b->text, b->text + drop, b->len - drop);
	b->len -= drop;
	b->line_start -= b->line_start > drop ? drop : b->line_start;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct proc *proc = stream->data;
	struct proc_buf *b = buf_of(proc, stream);
	(void)buf;
	if (n > 0)
		b->len += (size_t)n;
	if (b->text != NULL)
		b->text[b->len] = '\0';
	if (proc->on_line != NULL)
		hand_on(proc, b, n < 0);
	bound(b);
	if (b->text != NULL)
		b->text[b->len] = '\0';
	if (n < 0)
		uv_close((uv_handle_t *)stream, on_closed);
}

static void own(struct proc *proc, void *handle)
{
	((uv_handle_t *)handle)->data = proc;
	proc->open++;
}

static void set_streams(struct proc *proc, uv_loop_t *loop, uv_stdio_container_t stdio[3])
{
	bool inherit = proc->mode == PROC_ATTACHED || proc->mode == PROC_PIPED;
	stdio[0].flags = inherit ? UV_INHERIT_FD : UV_IGNORE;
	stdio[0].data.fd = 0;
	for (int i = 0; i < 2; i++) {
		if (inherit) {
			stdio[i + 1].flags = UV_INHERIT_FD;
			stdio[i + 1].data.fd = i + 1;
			continue;
		}
		uv_pipe_init(loop, &proc->pipes[i], 0);
		own(proc, &proc->pipes[i]);
		stdio[i + 1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
		stdio[i + 1].data.stream = (uv_stream_t *)&proc->pipes[i];
	}
}

void proc_start(struct proc *proc, uv_loop_t *loop, enum proc_mode mode, char *const *argv,
		proc_line_fn *on_line, void *arg, int keep_fd)
{
	*proc = (struct proc){
		.running = true, .mode = mode, .on_line = on_line, .arg = arg, .status = 127
	};
	uv_stdio_container_t stdio[4];
	uv_process_options_t options = {
		.exit_cb = on_exit_seen,
		.file = argv[0],
		.args = (char **)argv,
		.flags = mode == PROC_ATTACHED ? 0 : UV_PROCESS_DETACHED,
		.stdio_count = keep_fd >= 0 ? 4 : 3,
		.stdio = stdio,
	};
	set_streams(proc, loop, stdio);
	stdio[3].flags = UV_INHERIT_FD;
	stdio[3].data.fd = keep_fd;
	proc->spawn_error = uv_spawn(loop, &proc->handle, &options);
	own(proc, &proc->handle); /* also after a failure the handle must be closed */
	proc->spawned = proc->spawn_error == 0;
	bool piped = mode == PROC_QUIET || mode == PROC_LINES;
	if (!proc->spawned)
		uv_close((uv_handle_t *)&proc->handle, on_closed);
	for (int i = 0; i < 2 && piped; i++) {
		if (!proc->spawned ||
		    uv_read_start((uv_stream_t *)&proc->pipes[i], on_alloc, on_read) != 0)
			uv_close((uv_handle_t *)&proc->pipes[i], on_closed);
	}
}

void proc_signal(struct proc *proc, int signal)
{
	if (proc->spawned && proc->running && !uv_is_closing((uv_handle_t *)&proc->handle))
		uv_process_kill(&proc->handle, signal);
}

static void close_open(void *handle, bool ours)
{
	if (ours && !uv_is_closing(handle))
		uv_close(handle, on_closed);
}

void proc_abandon(struct proc *proc)
{
	bool piped = proc->mode == PROC_QUIET || proc->mode == PROC_LINES;
	if (!proc->running)
		return;
	close_open(&proc->handle, true);
	close_open(&proc->pipes[0], piped);
	close_open(&proc->pipes[1], piped);
}

const char *proc_out(const struct proc *proc)
{
	return proc->out.text != NULL ? proc->out.text : "";
}

const char *proc_errors(const struct proc *proc)
{
	return proc->errors.text != NULL ? proc->errors.text : "";
}

void proc_done(struct proc *proc)
{
	free(proc->out.text);
	free(proc->errors.text);
	proc->out = (struct proc_buf){ 0 };
	proc->errors = (struct proc_buf){ 0 };
}
