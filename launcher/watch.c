/* watch.c - see watch.h. */
#include "watch.h"

#define QUIET_MS 100 /* an editor writes, renames, touches: one look for all of it */
#define POLL_MS  2000

static void on_quiet(uv_timer_t *timer)
{
	struct watch *w = timer->data;
	w->changed(w->arg);
}

static void look_soon(struct watch *w)
{
	uv_timer_start(&w->quiet, on_quiet, QUIET_MS, 0);
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
	(void)name;
	(void)events;
	(void)status;
	look_soon(handle->data);
}

static void on_poll(uv_fs_poll_t *handle, int status, const uv_stat_t *before, const uv_stat_t *now)
{
	(void)status;
	(void)before;
	(void)now;
	look_soon(handle->data);
}

void watch_start(struct watch *w, uv_loop_t *loop, const char *dir, const char *file,
		 void (*changed)(void *arg), void *arg)
{
	*w = (struct watch){ .changed = changed, .arg = arg };
	uv_timer_init(loop, &w->quiet);
	uv_fs_event_init(loop, &w->event);
	uv_fs_poll_init(loop, &w->poll);
	w->quiet.data = w->event.data = w->poll.data = w;
	uv_fs_event_start(&w->event, on_event, dir, 0); /* if it fails, the poll remains */
	uv_fs_poll_start(&w->poll, on_poll, file, POLL_MS);
	uv_unref((uv_handle_t *)&w->quiet);
	uv_unref((uv_handle_t *)&w->event);
	uv_unref((uv_handle_t *)&w->poll);
}

void watch_stop(struct watch *w)
{
	uv_close((uv_handle_t *)&w->quiet, NULL);
	uv_close((uv_handle_t *)&w->event, NULL);
	uv_close((uv_handle_t *)&w->poll, NULL);
}
