export interface Task {
  readonly id: number;
  readonly title: string;
  readonly done: boolean;
}

export class TaskStore {
  readonly #tasks = new Map<number, Task>();

  list(): Task[] {
    return [...this.#tasks.values()];
  }

  add(title: string): Task {
    return this.#save({ id: this.#tasks.size + 1, title, done: false });
  }

  toggle(id: number): Task | undefined {
    const task = this.#tasks.get(id);
    return task && this.#save({ ...task, done: true });
  }

  #save(task: Task): Task {
    this.#tasks.set(task.id, task);
    return task;
  }
}
