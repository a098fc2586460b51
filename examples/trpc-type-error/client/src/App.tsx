import { useEffect, useState } from "react";
import { type Task, trpc } from "./trpc";

export function App() {
  const [tasks, setTasks] = useState<Task[]>([]);

  useEffect(() => {
    trpc.tasks.list.query().then(setTasks);
  }, []);

  async function add(form: FormData) {
    const title = String(form.get("title"));
    const added = await trpc.tasks.add.mutate({ name: title });
    setTasks((tasks) => [...tasks, added]);
  }

  async function toggle(id: number) {
    const toggled = await trpc.tasks.toggle.mutate({ id });
    setTasks((tasks) => tasks.map((task) => (task.id === id ? toggled : task)));
  }

  return (
    <main>
      <h1>Tasks</h1>
      <form action={add}>
        <input name="title" aria-label="Title" pattern=".*\S.*" maxLength={100} required />
        <button>Add</button>
      </form>
      <ul>
        {tasks.map(({ id, title, done }) => (
          <li key={id}>
            <label>
              <input type="checkbox" checked={done} onChange={() => toggle(id)} />
              {title}
            </label>
          </li>
        ))}
      </ul>
    </main>
  );
}
