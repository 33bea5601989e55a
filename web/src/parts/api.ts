// Requests to the server. What it refuses comes as a Refusal with a sentence and a hint.
export class Refusal extends Error {
  constructor(
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

async function read<T>(answer: Response): Promise<T> {
  if (answer.ok) return (await answer.json()) as T;
  const text = await answer.text();
  let said: { message?: string; hint?: string } = {};
  try {
    said = JSON.parse(text);
  } catch {
    said = { message: text.trim() || `the studio answered ${answer.status}` };
  }
  throw new Refusal(said.message ?? "the studio refused this", said.hint ?? "");
}

export function address(path: string, query: Record<string, string | number> = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const text = new URLSearchParams(given.map(([k, v]) => [k, String(v)])).toString();
  return `/api/${path}${text ? `?${text}` : ""}`;
}

export async function ask<T>(
  path: string,
  query: Record<string, string | number> = {},
  signal?: AbortSignal,
): Promise<T> {
  return read<T>(await fetch(address(path, query), { signal }));
}

export async function tell<T>(path: string, body: unknown, query = {}): Promise<T> {
  const raw = body instanceof Blob;
  return read<T>(
    await fetch(address(path, query), {
      method: "POST",
      body: raw ? body : JSON.stringify(body),
      headers: raw ? {} : { "content-type": "application/json" },
    }),
  );
}

export async function drop<T>(path: string): Promise<T> {
  return read<T>(await fetch(address(path), { method: "DELETE" }));
}

export function socket(path: string): WebSocket {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return new WebSocket(`${scheme}://${location.host}/api/${path}`);
}
