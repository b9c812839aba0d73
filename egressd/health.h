/*
 * health.h - egressd --health: does an egressd answer at this address, and does it serve? For
 * container engines, whose images have no shell to ask with.
 */
#ifndef EGRESSD_HEALTH_H
#define EGRESSD_HEALTH_H

#include "config.h"

/* Returns the exit status: 0 yes, 1 no (one line on standard error says why). */
int health_ask(const struct config_endpoint *endpoint);

#endif
