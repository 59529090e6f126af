// Command storage answers volume claims with folders of the node that it runs on.
//
// It serves the storage classes whose provisioner is its name. A claim becomes a persistent volume of type `local`,
// which, unlike `hostPath`, is handed to a pod's fsGroup; a released volume whose policy is Delete goes with its folder.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const provisioner = "hubstack.test/local"

// The volume controller asks for a provisioner by this annotation on the claim.
const asked = "volume.kubernetes.io/storage-provisioner"

const provisioned = "pv.kubernetes.io/provisioned-by"

// Again at least this often, for what failed.
const resync = 10 * time.Second

type controller struct {
	client *kubernetes.Clientset
	node   string
	folder string
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "credentials")
	node := flag.String("node", "", "name of the node whose folders are the volumes")
	folder := flag.String("folder", "", "where the volumes' folders are made")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	c := controller{client: kubernetes.NewForConfigOrDie(config), node: *node, folder: *folder}
	factory := informers.NewSharedInformerFactory(c.client, resync)
	watch(factory.Core().V1().PersistentVolumeClaims().Informer(), c.provision)
	watch(factory.Core().V1().PersistentVolumes().Informer(), c.release)
	factory.Start(context.Background().Done())
	select {}
}

func watch[T any](informer cache.SharedIndexInformer, handle func(T) error) {
	call := func(object any) {
		if err := handle(object.(T)); err != nil {
			log.Print(err)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    call,
		UpdateFunc: func(_, object any) { call(object) },
	})
	if err != nil {
		log.Fatal(err)
	}
}

func (c controller) provision(claim *core.PersistentVolumeClaim) error {
	if claim.Status.Phase != core.ClaimPending || claim.Annotations[asked] != provisioner || claim.DeletionTimestamp != nil {
		return nil
	}
	class, err := c.client.StorageV1().StorageClasses().Get(context.Background(), *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return err
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(c.folder, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Despite the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisioned: provisioner}},
		Spec: core.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			ClaimRef: &core.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{c.node},
				}}}},
			}},
		},
	}
	_, err = c.client.CoreV1().PersistentVolumes().Create(context.Background(), volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (c controller) release(volume *core.PersistentVolume) error {
	ours := volume.Annotations[provisioned] == provisioner && volume.Spec.Local != nil
	if !ours || volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(c.folder, volume.Name)); err != nil {
		return err
	}
	err := c.client.CoreV1().PersistentVolumes().Delete(context.Background(), volume.Name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
