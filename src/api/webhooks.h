/* Webhook endpoints: the family's rows for resources.c. What is delivered to them, and how, is
 * jobs/webhook.h. */
#ifndef CAIRN_API_WEBHOOKS_H
#define CAIRN_API_WEBHOOKS_H

#include "api/resources.h"

extern const struct resource RESOURCE_WEBHOOK, RESOURCE_WEBHOOK_DELIVERY;
#endif
