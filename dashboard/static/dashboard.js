// The state of the connection, which htmx reports by events. Everything else works without scripts.
(() => {
  const shown = () => document.getElementById("connection");
  const set = (state) => {
    const element = shown();
    if (!element || element.dataset.state === state) return;
    element.dataset.state = state;
    element.textContent = element.dataset[state];
  };
  const retryAfterMs = 2000;
  let retry = null;

  document.addEventListener("connection", (event) => set(event.detail.data));
  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (event.detail.connection.attempt > 0) set("lost");
  });
  document.addEventListener("htmx:sse:error", (event) => {
    set(event.detail.status === 401 || event.detail.status === 403 ? "refused" : "lost");
  });
  // The first request of a stream is one of htmx's own, and not tried again.
  for (const name of ["htmx:error", "htmx:response:error"]) {
    document.addEventListener(name, (event) => {
      // A part that never came: without a status there is no answer that says why.
      if (name === "htmx:error" && event.target.dataset.failed) {
        event.target.textContent = event.target.dataset.failed;
      }
      const live = document.getElementById("live");
      if (!live || event.target !== live) return;
      set("lost");
      clearTimeout(retry);
      retry = setTimeout(() => htmx.trigger(live, "retry"), retryAfterMs);
    });
  }
  window.addEventListener("offline", () => set("lost"));
})();
