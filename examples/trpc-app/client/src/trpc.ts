import type { AppRouter } from "@tasks/server";
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import type { inferRouterOutputs } from "@trpc/server";

export type Task = inferRouterOutputs<AppRouter>["tasks"]["list"][number];

export const trpc = createTRPCClient<AppRouter>({
  links: [httpBatchLink({ url: "/trpc" })],
});
