import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig } from "vite";

const HERE = import.meta.dirname;
const OUT = join(HERE, "../src/striate/studio/static");

function filesIn(place: string): string[] {
  if (!statSync(place).isDirectory()) return [place];
  return readdirSync(place).flatMap((name) => filesIn(join(place, name)));
}

// The sum of all sources, beside what was built of them: a test says when the two differ.
function stamp(): string {
  const sum = createHash("sha256");
  const roots = ["src", "public", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];
  const files = roots.flatMap((root) => filesIn(join(HERE, root)));
  const named = files.map((file) => [relative(HERE, file).split(sep).join("/"), file] as const);
  for (const [name, file] of named.sort(([a], [b]) => (a < b ? -1 : 1)))
    sum.update(`${name}\0`).update(readFileSync(file)).update("\0");
  return sum.digest("hex");
}

// What the page contains of others, with the notices that their licences ask for.
function notices(): string {
  const { dependencies } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
  const parts = Object.keys(dependencies).map((name) => {
    const place = join(HERE, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
    return `${name} ${version}\n\n${readFileSync(join(place, "LICENSE"), "utf8").trim()}\n`;
  });
  return parts.join("\n\n");
}

function beside(): void {
  writeFileSync(join(OUT, "built-from.txt"), `${stamp()}\n`);
  writeFileSync(join(OUT, "licences.txt"), notices());
}

// The built page goes into the Python package: nobody needs Node to use it.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: OUT,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: {
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  plugins: [{ name: "beside", closeBundle: beside }],
  server: { proxy: { "/api": { target: "http://127.0.0.1:8400", ws: true } } },
});
