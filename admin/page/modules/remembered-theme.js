// Puts on the remembered theme before anything is drawn: so this one is not a module, which would come too late.
try {
  const theme = JSON.parse(localStorage.getItem("hivesync-analytics.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage, or not what we wrote: the system's theme.
}
