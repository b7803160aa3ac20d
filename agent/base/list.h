/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubly linked ring with the links inside the elements. An element that is on no list points
 * at itself, so that list_del is harmless on it.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name)          \
	{                        \
		&(name), &(name) \
	}

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define list_for_each(type, pos, head, member)                                             \
	for (type *pos = container_of((head)->next, type, member); &pos->member != (head); \
	     pos = container_of(pos->member.next, type, member))

/* The body may unlink pos, and nothing else. */
#define list_for_each_safe(type, pos, head, member)                           \
	for (type *pos = container_of((head)->next, type, member),            \
		  *pos##_next = container_of(pos->member.next, type, member); \
	     &pos->member != (head);                                          \
	     pos = pos##_next, pos##_next = container_of(pos->member.next, type, member))

#define list_first(head, type, member) \
	((head)->next == (head) ? NULL : container_of((head)->next, type, member))

static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

static inline void list_add(struct list *head, struct list *item)
{
	list_add_tail(head->next, item);
}

static inline void list_del(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

#endif
