import { defineConfig } from "vite";

// The console's pages are rendered by Python; Vite only builds what they load. Names carry a hash, the manifest tells
// Python which file is the current one, and nothing is ever fetched from another host.
export default defineConfig({
  base: "/static/built/",
  build: {
    outDir: "../src/malan/web/static/built",
    emptyOutDir: true,
    manifest: "manifest.json",
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 600,
    rollupOptions: { input: "src/main.ts" },
  },
});
