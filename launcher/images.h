/*
 * images.h - the two images: are they there, were they built with the present packages.txt, and
 * building them.
 */
#ifndef LAUNCHER_IMAGES_H
#define LAUNCHER_IMAGES_H

#include "runner.h"
#include "start.h"

/* Builds one image (the sidecar's or the app's), with progress on standard error. */
int images_build(struct runner *runner, bool sidecar, const struct strv *packages,
		 const char *packages_hash, struct fail *why);

/* The argv of that build, for --dry-run. */
int images_build_argv(bool sidecar, const struct strv *packages, const char *packages_hash,
		      struct strv *ret, struct fail *why);

/* Which images a session needs and cannot use: missing, or built by another version of prisoncode. */
struct images_need {
	bool app, sidecar;
	char packages[SHA256_HEX]; /* the label of an app image that can be used, else empty */
};

/* What the step of engine_images() found; sidecar: was it asked for too. -1: the engine failed. */
int images_judge(const struct step *inspect, bool sidecar, struct images_need *ret);

/*
 * After the step of engine_images() has ended: builds what is missing or of another version; warns
 * when packages.txt has changed since. sidecar: was it asked for too. 0, or -1 with why.
 */
int images_ensure(struct runner *runner, const struct step *inspect, bool sidecar,
		  const struct start *start, struct fail *why);

#endif
