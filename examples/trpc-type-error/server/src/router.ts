import { initTRPC, TRPCError } from "@trpc/server";
import { z } from "zod";
import type { TaskStore } from "./store.js";

const t = initTRPC.context<{ store: TaskStore }>().create();

const tasks = t.router({
  list: t.procedure.query(({ ctx }) => ctx.store.list()),

  add: t.procedure
    .input(z.object({ title: z.string().trim().min(1).max(100) }))
    .mutation(({ ctx, input }) => ctx.store.add(input.title)),

  toggle: t.procedure
    .input(z.object({ id: z.int().positive() }))
    .mutation(({ ctx, input }) => {
      const task = ctx.store.toggle(input.id);
      if (!task) {
        throw new TRPCError({ code: "NOT_FOUND", message: `No task ${input.id}` });
      }
      return task;
    }),
});

export const appRouter = t.router({ tasks });
export type AppRouter = typeof appRouter;
