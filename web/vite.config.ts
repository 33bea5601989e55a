import { defineConfig } from "vite";

// The built page goes into the Python package: nobody needs Node to use it.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: "../src/striate/studio/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    target: "es2022",
  },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8400", ws: true } } },
});
