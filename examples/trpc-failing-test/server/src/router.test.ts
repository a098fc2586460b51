import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { appRouter } from "./router.js";
import { TaskStore } from "./store.js";

let caller: ReturnType<typeof appRouter.createCaller>;

beforeEach(() => {
  caller = appRouter.createCaller({ store: new TaskStore() });
});

test("a new list is empty", async () => {
  assert.deepEqual(await caller.tasks.list(), []);
});

test("added tasks are listed in order, not yet done", async () => {
  await caller.tasks.add({ title: "Buy milk" });
  await caller.tasks.add({ title: "  Call Ada " });

  assert.deepEqual(await caller.tasks.list(), [
    { id: 1, title: "Buy milk", done: false },
    { id: 2, title: "Call Ada", done: false },
  ]);
});

test("toggling a task completes it", async () => {
  const { id } = await caller.tasks.add({ title: "Buy milk" });
  await caller.tasks.toggle({ id });

  assert.deepEqual(await caller.tasks.list(), [{ id, title: "Buy milk", done: true }]);
});

test("toggling a completed task reopens it", async () => {
  const { id } = await caller.tasks.add({ title: "Buy milk" });
  await caller.tasks.toggle({ id });
  await caller.tasks.toggle({ id });

  assert.deepEqual(await caller.tasks.list(), [{ id, title: "Buy milk", done: false }]);
});

test("a blank title is rejected", async () => {
  await assert.rejects(caller.tasks.add({ title: "   " }), { code: "BAD_REQUEST" });
});

test("toggling an unknown task is an error", async () => {
  await assert.rejects(caller.tasks.toggle({ id: 7 }), { code: "NOT_FOUND", message: "No task 7" });
});
