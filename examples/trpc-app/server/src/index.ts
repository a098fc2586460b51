import { createHTTPServer } from "@trpc/server/adapters/standalone";
import { appRouter } from "./router.js";
import { TaskStore } from "./store.js";

const port = Number(process.env.PORT ?? 3000);
const store = new TaskStore();

createHTTPServer({
  basePath: "/trpc/",
  router: appRouter,
  createContext: () => ({ store }),
}).listen(port, () => console.log(`Listening on http://localhost:${port}/trpc`));
